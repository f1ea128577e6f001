"""How sound is cut into blocks; files are opened in tests/integration."""

import numpy as np

from morag.pipeline.conversion.media import DEMUXERS, SAMPLE_RATE, Block, quiet_moment


def test_a_block_ends_where_its_sound_does() -> None:
    assert Block(start_s=3.0, samples=np.zeros(SAMPLE_RATE * 2, dtype=np.float32)).end_s == 5.0


def test_sound_is_cut_in_the_quietest_moment_near_the_end() -> None:
    samples = np.ones(SAMPLE_RATE * 60, dtype=np.float32)
    samples[SAMPLE_RATE * 5 : SAMPLE_RATE * 6] = 0  # quiet, but too early
    samples[SAMPLE_RATE * 50 : SAMPLE_RATE * 51] = 0.01
    assert SAMPLE_RATE * 50 <= quiet_moment(samples) <= SAMPLE_RATE * 51


def test_no_container_that_points_to_other_files_is_opened() -> None:
    assert not {"concat", "hls", "dash", "image2", "sdp", "rtsp", "webm_dash_manifest", "lavfi"} & set(
        DEMUXERS.split(",")
    )
