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
