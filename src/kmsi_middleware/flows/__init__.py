"""Layer 2: the flows. Generators that ask for effects (:mod:`kmsi_middleware.vocabulary.effects`) and return an
outcome; no I/O, no framework. :func:`kmsi_middleware.flows.dispatch.answer` is where every request comes in."""
