"""Trains small models with a `MomentLogger`, and reads the files that it writes."""

import pandas as pd
from networks import NETWORKS, mlp
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

X, Y = NETWORKS[0].x, NETWORKS[0].y


def compiled(build=mlp, optimizer="sgd", **options):
    model = build()
    model.compile(optimizer, "mse", **options)
    return model


def fit(model, *callbacks, x=X, y=Y, **options):
    return model.fit(x, y, **{"verbose": 0, "batch_size": 8, "callbacks": [*callbacks], **options})


def assert_same_as_file(logger, path, run=0):
    frame = pd.read_csv(path, keep_default_na=False, na_values=["nan"])
    frame = frame[frame.pop("run") == run]
    expected = logger.history
    pd.testing.assert_frame_equal(
        frame.reset_index(drop=True), expected, check_dtype=False, check_exact=True
    )


def events(folder):
    files = sorted(folder.glob("events.out.tfevents.*"))
    found = [event for file in files for event in EventFileLoader(str(file)).Load()]
    return [event for event in found if event.HasField("summary")]
