"""Policies from files: what is read, what is refused, and what a change of the files does to a running app."""

from __future__ import annotations

import errno
import json
import logging
import math
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kmsi_middleware.edges import policy_files
from kmsi_middleware.edges.policy_files import LARGEST, PolicyBook, read_documents
from kmsi_middleware.rules.conditional_access.policy import PolicySet
from kmsi_middleware.rules.conditional_access.reading import PolicyError
from kmsi_middleware.vocabulary.errors import KMSIError, SettingsError

NOW = 1_700_000_000.0


def policy(name: str, hours: int = 1, **more: Any) -> dict[str, Any]:
    return {
        "displayName": name,
        "state": "enabled",
        "conditions": {
            "users": {"includeUsers": ["All"], "excludeUsers": ["break-glass"]},
            "applications": {"includeApplications": ["All"]},
        },
        "sessionControls": {"signInFrequency": {"value": hours, "type": "hours", "isEnabled": True}},
        **more,
    }


def names(policies: PolicySet) -> list[str]:
    return [item.display_name for item in policies.policies]


class Folder:
    """A folder of policies whose files get a new time with every write, whatever the file system's clock."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.ticks = 1_600_000_000

    def write(self, name: str, document: Any, *, tick: bool = True) -> Path:
        path = self.path / name
        text = document if isinstance(document, str) else json.dumps(document)
        path.write_text(text, encoding="utf-8")
        self.ticks += tick
        os.utime(path, (self.ticks, self.ticks))
        return path


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    (tmp_path / "policies").mkdir()
    return Folder(tmp_path / "policies")


class Clock:
    """Every look is due: half a second later than the last."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        self.now += 0.5
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    with caplog.at_level(logging.DEBUG, logger="kmsi_middleware"):
        yield caplog


def errors(log: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in log.records if record.levelno == logging.ERROR]


# What is read --------------------------------------------------------------------------------------------


def test_a_file(folder: Folder) -> None:
    path = folder.write("one.json", [policy("A")])
    assert read_documents(path) == read_documents(str(path)) == [(str(path), [policy("A")])]


def test_a_folder_is_its_json_files_by_name(folder: Folder) -> None:
    for name in ("b.json", "a.json", ".hidden.json", "a.json~", "readme.md", "A.json"):
        folder.write(name, {"from": name})
    assert [(Path(name).name, document["from"]) for name, document in read_documents(folder.path)] == [
        ("A.json", "A.json"),
        ("a.json", "a.json"),
        ("b.json", "b.json"),
    ]


def test_a_list_of_files_folders_and_policies(folder: Folder) -> None:
    folder.write("a.json", [1])
    other = folder.path.parent / "other.json"
    other.write_text("[2]")
    found = read_documents([policy("A"), folder.path, [policy("B")], str(other)])
    assert found == [
        ("policies[1]", policy("A")),
        (f"{folder.path}/a.json", [1]),
        ("policies[3]", [policy("B")]),
        (str(other), [2]),
    ]


def test_files_are_named_as_they_were_given(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.write("a.json", [])
    monkeypatch.chdir(folder.path.parent)
    assert read_documents("policies")[0][0] == "policies/a.json"
    assert read_documents("policies/a.json")[0][0] == "policies/a.json"


def test_a_byte_order_mark_is_no_mistake(folder: Folder) -> None:
    path = folder.path / "bom.json"
    path.write_bytes(b"\xef\xbb\xbf[]")
    assert read_documents(path) == [(str(path), [])]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "this is no JSON: it is empty"),
        (b" \n", "this is no JSON: it is empty"),
        (b'[\n {"a" 1}\n]', "this is no JSON: line 2, column 7: "),
        (b'[{"state": "disabled"', "this is no JSON: line 1, column 22: "),
        (b'{"state": "enabled", "state": "disabled"}', "the field 'state' is there twice in one object"),
        (b'{"a": NaN}', "NaN is no JSON"),
        (b'{"a": -Infinity}', "-Infinity is no JSON"),
        ('"ö"'.encode("latin-1"), "byte 2 is not UTF-8: save the file as UTF-8"),
        ("[]".encode("utf-16"), "byte 1 is not UTF-8"),
        (b"[" * 100_000, "it is nested too deeply"),
        (b"[" + b"9" * 10_000 + b"]", "it has a number that is too large"),
        (b" " * (LARGEST + 1), "too large: give files of 4 MiB at most"),
    ],
)
def test_what_is_no_json_is_refused_with_its_place(folder: Folder, content: bytes, says: str) -> None:
    path = folder.path / "bad.json"
    path.write_bytes(content)
    with pytest.raises(PolicyError) as caught:
        read_documents(folder.path)
    assert str(caught.value).startswith(f"policies: {path}: ")
    assert says in str(caught.value)
    assert (caught.value.file, caught.value.kind) == (str(path), "file")


def test_the_largest_file_is_read(folder: Folder) -> None:
    path = folder.path / "large.json"
    path.write_bytes(b"[]" + b" " * (LARGEST - 2))
    assert read_documents(path) == [(str(path), [])]


def test_files_that_are_not_there(folder: Folder) -> None:
    with pytest.raises(PolicyError, match=r"nowhere\.json: there is no such file"):
        read_documents(folder.path / "nowhere.json")
    with pytest.raises(PolicyError, match=r"policies: there is no \*\.json in this folder"):
        read_documents(folder.path)
    (folder.path / "gone.json").symlink_to("nowhere")
    with pytest.raises(PolicyError, match=r"gone\.json: there is no such file"):
        read_documents(folder.path)


@pytest.mark.skipif(os.name != "posix", reason="about pipes of POSIX")
def test_what_is_no_file_is_not_waited_for(folder: Folder) -> None:
    os.mkfifo(folder.path / "pipe.json")
    with pytest.raises(PolicyError, match=r"pipe\.json: this is no file"):
        read_documents(folder.path)
    (folder.path / "pipe.json").unlink()
    (folder.path / "folder.json").mkdir()
    with pytest.raises(PolicyError, match=r"folder\.json: this is no file"):
        read_documents(folder.path)


def test_a_file_that_may_not_be_read(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system's answer is played, because root, who may be running this, may read everything."""
    folder.write("a.json", [])

    def refuse(*_: Any, **__: Any) -> Any:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(PolicyError, match=r"a\.json: Permission denied"):
        read_documents(folder.path)


@pytest.mark.parametrize("source", ["", " ", "a\0b", None, 7, b"a.json", {"value": []}])
def test_what_is_no_source(source: Any) -> None:
    with pytest.raises(SettingsError, match="give a file, a folder, or a list of files and of policies"):
        read_documents(source)


@pytest.mark.parametrize("item", [None, 7, b"a.json"])
def test_what_is_no_item_of_a_list(item: Any) -> None:
    with pytest.raises(SettingsError, match=r"policies\[2\] = '\w+': give a file, or a policy as parsed JSON"):
        read_documents([[], item])


# The policies in force -----------------------------------------------------------------------------------


def test_start_up_raises_for_whatever_cannot_be_kept(folder: Folder) -> None:
    book = PolicyBook(folder.path)
    with pytest.raises(PolicyError, match="there is no"):
        book.load()
    folder.write("a.json", policy("A", colour="red", grantControls={"builtInControls": ["mfaa"]}))
    with pytest.raises(PolicyError, match=r"a\.json: policy 'A': grantControls\.builtInControls"):
        book.load()
    with pytest.raises(PolicyError):
        book.current(NOW)
    folder.write("a.json", policy("A"))
    assert names(book.load()) == names(book.current(NOW)) == ["A"]
    assert book.generation == 1


def test_a_change_is_in_force_after_the_next_look(folder: Folder, clock: Clock) -> None:
    folder.write("a.json", policy("A", hours=4))
    book = PolicyBook(folder.path)
    first = book.load()
    assert book.current(clock()) is first
    folder.write("a.json", policy("A", hours=1))
    assert book.changed(clock())
    found = book.current(clock.now).policies[0].sign_in_frequency
    assert found is not None
    assert (found.seconds, book.generation) == (3_600, 2)
    folder.write("b.json", policy("B"))
    assert names(book.current(clock())) == ["A", "B"]
    assert book.generation == 3
    assert not book.changed(clock())


def test_files_are_looked_at_only_when_it_is_time(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.write("a.json", policy("A"))
    looks: list[Any] = []
    look = policy_files._Look
    monkeypatch.setattr(policy_files, "_Look", lambda places: looks.append(places) or look(places))
    book = PolicyBook(folder.path, check_every=0.5)
    assert book.next_check_at == -math.inf
    book.load()
    for at in (0.0, 0.1, 0.49, 0.5, 0.6, 0.99, 1.0):
        book.current(NOW + at)
    assert len(looks) == 1 + 3
    assert book.next_check_at == NOW + 1.5
    book.current(NOW - 3_600)  # a clock that was set back
    assert len(looks) == 5
    assert book.next_check_at == NOW - 3_600 + 0.5


def test_a_file_that_stays_the_same_is_read_twice_and_no_more(
    folder: Folder, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.write("a.json", policy("A"))
    reads: list[Any] = []
    read = policy_files._read
    monkeypatch.setattr(policy_files, "_read", lambda stamp: reads.append(stamp) or read(stamp))
    book = PolicyBook(folder.path)
    book.load()
    for _ in range(9):
        book.current(clock())
    assert len(reads) == 2


def test_a_second_write_within_one_tick_of_the_file_system_is_seen(
    folder: Folder, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        policy_files,
        "_stamp",
        lambda shown, path, found: policy_files._Stamp(shown, path, (found.st_mtime_ns, found.st_size)),
    )
    folder.write("a.json", policy("A"))
    book = PolicyBook(folder.path)
    book.load()
    folder.write("a.json", policy("B"), tick=False)
    assert names(book.current(clock())) == ["B"]
    folder.write("a.json", policy("C"))
    assert names(book.current(clock())) == ["C"]
    folder.write("a.json", policy("D"), tick=False)
    assert names(book.current(clock())) == ["D"]


def test_what_decides_the_same_is_no_new_generation(folder: Folder, clock: Clock, log: Any) -> None:
    folder.write("a.json", policy("A"))
    book = PolicyBook(folder.path)
    book.load()
    folder.write("a.json", json.dumps(policy("A"), indent=4))
    assert not book.changed(clock())
    folder.write("a.json", policy("A", colour="red"))
    assert not book.changed(clock())
    assert book.generation == 1
    assert [record.getMessage() for record in log.records if record.levelno == logging.WARNING] == [
        f"policies: {folder.path}/a.json: policy 'A': colour: not known, and not used"
    ]
    assert book.current(clock.now).notes != ()


def test_a_broken_file_keeps_the_last_good_set_and_says_so_once(folder: Folder, clock: Clock, log: Any) -> None:
    path = folder.write("a.json", policy("A"))
    book = PolicyBook(folder.path)
    book.load()
    folder.write("a.json", "{")
    for _ in range(5):
        assert names(book.current(clock())) == ["A"]
    assert book.problem is not None
    assert book.problem.since == NOW + 0.5
    assert book.problem.text.startswith(f"policies: {path}: this is no JSON: line 1, column 2: ")
    assert len(errors(log)) == 1
    assert errors(log)[0].endswith("The policies that were read before stay in force until this is mended")

    folder.write("a.json", "{ ")
    for _ in range(3):
        book.current(clock())
    assert len(errors(log)) == 2, "other content, told again"
    folder.write("a.json", {**policy("A"), "state": "on"})
    assert names(book.current(clock())) == ["A"]
    assert "state = 'on'" in errors(log)[2]
    assert book.problem.since == NOW + 0.5
    assert book.generation == 1


def test_a_file_that_is_mended(folder: Folder, clock: Clock, log: Any) -> None:
    folder.write("a.json", policy("A"))
    book = PolicyBook(folder.path)
    book.load()
    for content, generation in ((policy("A"), 1), (policy("B"), 2)):
        folder.write("a.json", "")
        book.current(clock())
        assert book.problem is not None
        folder.write("a.json", content)
        book.current(clock())
        assert book.problem is None
        assert book.generation == generation
    assert log.messages.count("policies: they can be read and understood again") == 2
    assert len(errors(log)) == 2


def test_a_file_must_be_gone_for_two_looks(folder: Folder, clock: Clock, log: Any) -> None:
    folder.write("a.json", policy("A"))
    folder.write("b.json", policy("B"))
    book = PolicyBook(folder.path)
    book.load()
    book.current(clock())
    (folder.path / "b.json").rename(folder.path / "b.json~")  # as editors do
    assert names(book.current(clock())) == ["A", "B"]
    folder.write("b.json", policy("B"))
    for _ in range(3):
        assert names(book.current(clock())) == ["A", "B"]
    assert book.generation == 1
    assert errors(log) == []

    (folder.path / "b.json").unlink()
    assert names(book.current(clock())) == ["A", "B"]
    folder.write("a.json", policy("A2"))  # another change meanwhile delays it no further
    assert names(book.current(clock())) == ["A2"]
    assert book.generation == 2


def test_policies_that_vanish_altogether_stay_in_force(folder: Folder, clock: Clock, log: Any) -> None:
    path = folder.write("a.json", policy("A"))
    for source in (path, folder.path):
        path = folder.write("a.json", policy("A"))
        book = PolicyBook(source)
        book.load()
        path.unlink()
        for _ in range(4):
            assert names(book.current(clock())) == ["A"]
        assert book.problem is not None
        assert errors(log)[0].startswith(f"policies: {source}: there is no ")
        assert len(errors(log)) == 1
        log.clear()


def test_to_have_no_policies_one_writes_an_empty_list(folder: Folder, clock: Clock) -> None:
    folder.write("a.json", policy("A"))
    book = PolicyBook(folder.path)
    book.load()
    folder.write("a.json", [])
    assert names(book.current(clock())) == []
    assert book.generation == 2


def test_what_could_not_be_read_is_tried_again(
    folder: Folder, clock: Clock, log: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.write("a.json", policy("A"))
    book = PolicyBook(folder.path)
    book.load()
    folder.write("a.json", policy("B"))
    with monkeypatch.context() as broken:

        def fail(stamp: Any) -> bytes:
            raise PolicyError(stamp.shown, "", "", None, "Input/output error", "file")

        broken.setattr(policy_files, "_read", fail)
        for _ in range(4):
            assert names(book.current(clock())) == ["A"]
        assert len(errors(log)) == 1
    assert names(book.current(clock())) == ["B"]


def test_a_mistake_of_ours_does_not_stop_the_app(
    folder: Folder, clock: Clock, log: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.write("a.json", policy("A"))
    book = PolicyBook(folder.path)
    book.load()
    monkeypatch.setattr(policy_files, "load_policies", lambda _: 1 // 0)
    folder.write("a.json", policy("B"))
    for _ in range(4):
        assert names(book.current(clock())) == ["A"]
    assert book.problem is not None
    assert "ZeroDivisionError" in book.problem.text
    assert len(errors(log)) == 2, "the problem, and where it is"


def test_a_check_keeps_a_set_out(folder: Folder, clock: Clock) -> None:
    def check(policies: PolicySet) -> None:
        if "B" in names(policies):
            raise KMSIError("no B here")

    folder.write("a.json", policy("A"))
    book = PolicyBook(folder.path, check=check)
    book.load()
    folder.write("a.json", policy("B"))
    assert names(book.current(clock())) == ["A"]
    assert book.problem is not None
    assert book.problem.text == "no B here"
    with pytest.raises(KMSIError, match="no B here"):
        book.load()


def test_a_list_of_policies_never_changes(clock: Clock) -> None:
    book = PolicyBook([policy("A")])
    assert book.next_check_at == math.inf
    found = book.load()
    assert book.current(clock()) is found
    assert not book.changed(clock())
    assert (book.generation, book.next_check_at) == (1, math.inf)


def test_a_list_that_names_files_is_watched(folder: Folder, clock: Clock) -> None:
    path = folder.write("a.json", policy("A"))
    book = PolicyBook([policy("Z"), path])
    assert names(book.load()) == ["Z", "A"]
    folder.write("a.json", policy("B"))
    assert names(book.current(clock())) == ["Z", "B"]


def test_a_link_that_is_turned_to_another_file_is_followed(folder: Folder, clock: Clock) -> None:
    folder.write("1.txt", policy("A"))
    folder.write("2.txt", policy("B"))
    link = folder.path / "now.json"
    link.symlink_to("1.txt")
    book = PolicyBook(link)
    book.load()
    link.unlink()
    link.symlink_to("2.txt")
    assert names(book.current(clock())) == ["B"]


def test_the_files_stay_the_same_when_the_app_changes_its_folder(
    folder: Folder, clock: Clock, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder.write("a.json", policy("A"))
    monkeypatch.chdir(folder.path.parent)
    book = PolicyBook("policies")
    book.load()
    monkeypatch.chdir(tmp_path.parent)
    folder.write("a.json", policy("B"))
    assert names(book.current(clock())) == ["B"]


def test_threads_see_old_or_new_and_never_wait(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.write("a.json", policy("A"))
    book = PolicyBook(folder.path)
    book.load()
    folder.write("a.json", policy("B"))
    inside, go_on = threading.Event(), threading.Event()
    look = policy_files._Look

    def slow(places: Any) -> Any:
        inside.set()
        assert go_on.wait(10)
        return look(places)

    monkeypatch.setattr(policy_files, "_Look", slow)
    found: list[list[str]] = []
    thread = threading.Thread(target=lambda: found.append(names(book.current(NOW))))
    thread.start()
    assert inside.wait(10)
    book.next_check_at = -math.inf  # as if the first were taking very long
    assert names(book.current(NOW)) == ["A"]
    go_on.set()
    thread.join(10)
    assert found == [["B"]]
    assert book.generation == 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="about fork")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_child_looks_for_itself(folder: Folder, clock: Clock) -> None:
    folder.write("a.json", policy("A"))
    book = PolicyBook(folder.path)
    book.load()
    book._lock.acquire()  # as another thread of the parent might
    child = os.fork()
    if not child:
        code = 1
        try:
            assert names(book.current(clock())) == ["A"]
            assert book.generation == 1
            folder.write("a.json", policy("B"))
            assert names(book.current(clock())) == ["B"]
            assert book.generation == 2
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    book._lock.release()
    assert names(book.current(clock())) == ["B"]


def test_what_a_fork_interrupted_is_done_again(folder: Folder, clock: Clock) -> None:
    """The new set is in force in the child, but its generation was not yet counted."""
    folder.write("a.json", policy("A"))
    book = PolicyBook(folder.path)
    book.load()
    book._policies = PolicySet()
    book.renew()
    assert book.generation == 2
    assert names(book.current(clock())) == ["A"]
    assert book.generation == 3
