"""A shape of the user's own on the command line."""


def test_enqueued_shape_is_tried_when_the_search_goes_on(nas, own_place):
    found = nas("enqueue", "tiny", "n_layer=2", "d_model=24 d_ff=32")
    assert (found.code, found.err) == (0, "")
    assert "enqueued 2L d24 h2 hd8 ff32" in found.out
    again = nas("enqueue", "tiny", "n_layer=2", "d_model=24", "d_ff=32")
    assert (again.code, again.err) == (2, "nas: study 'tiny': the shape is enqueued already\n")
    found = nas("search", "tiny.yaml", "--quiet")
    assert found.code == 0
    assert "study tiny: 4 candidates" in found.out
    assert "is candidate #3 already" in nas("enqueue", "tiny", "n_layer=2,d_model=24,d_ff=32").err


def test_own_shape_is_trained_and_compared(nas, own_place):
    found = nas("train", "tiny", "--set", "n_layer=2", "--set", "d_model=16 d_ff=64")
    assert (found.code, found.err) == (0, "")
    for words in ("own seed 1", "your shape against the reference", "95 % interval", "nas.load("):
        assert words in found.out
    listed = nas("trials", "tiny", "--role", "own")
    assert listed.out.count("own") == 2
    found = nas("train", "tiny", "--set", "n_layer=2,d_model=16,d_ff=64", "--quiet")
    assert found.out.lstrip().startswith("as ")


def test_candidate_is_trained_to_more_tokens(nas, own_place):
    found = nas("train", "tiny", "--candidate", "0", "--tokens", "6144")
    assert (found.code, found.err) == (0, "")
    assert "from the beginning" in found.out  # a candidate of the search keeps no checkpoint
    candidate = found.out.rpartition("candidate='")[2][:12]
    shown = nas("show", "tiny", candidate)
    assert "extended, seed 0" in shown.out
    assert "6144" in nas("trials", "tiny", "--role", "extended", "--format", "csv").out
