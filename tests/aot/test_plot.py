from codepmp_jax.aot.plot import draw_roofline

REPORT = {
    "topology": "v5p:4x4x4",
    "num_slices": 2,
    "layout": "shared",
    "useful_tflop": 300.0,
    "collective_gib": 40.0,
    "step_ms": 1200.0,
    "mfu_ceiling_useful": 0.55,
}


def test_a_roofline_of_several_slices(tmp_path):
    path = tmp_path / "plots" / "roofline.png"
    draw_roofline([REPORT, {**REPORT, "topology": "v6e:16x16", "num_slices": 1}], str(path))
    assert path.read_bytes().startswith(b"\x89PNG")


def test_a_roofline_of_nothing_that_fits(tmp_path):
    path = tmp_path / "roofline.png"
    draw_roofline([], str(path))
    assert path.exists()
