"""Several processes train one model together: all of them measure it, and one of them writes."""

import json
import os
import socket
import subprocess
import sys

import keras
import pandas as pd
import pytest

BACKEND = keras.backend.backend()
# Each joins the other process before anything else, and says how to make and train a model. Keras'
# own `fit` fails where several processes of TensorFlow train, so there it is done by hand.
JOIN = {
    "tensorflow": """
import tensorflow as tf
workers = [f"127.0.0.1:{port}" for port in ports]
task = {"type": "worker", "index": index}
os.environ["TF_CONFIG"] = json.dumps({"cluster": {"worker": workers}, "task": task})
strategy = tf.distribute.MultiWorkerMirroredStrategy()
import keras

def train(build, x, logger):
    with strategy.scope():
        model = build()
    callbacks = keras.callbacks.CallbackList([logger], add_history=True, model=model)

    def replica_step():
        with tf.GradientTape() as tape:
            loss = keras.ops.mean((model(x, training=True) - x) ** 2)
        gradients = tape.gradient(loss, [v.value for v in model.trainable_variables])
        model.optimizer.apply_gradients(zip(gradients, model.trainable_variables))

    step = tf.function(lambda: strategy.run(replica_step))
    callbacks.on_train_begin()
    callbacks.on_epoch_begin(0)
    for batch in range(2):
        step()
        callbacks.on_train_batch_end(batch)
    callbacks.on_epoch_end(0)
    return model.history.history
""",
    "jax": """
import jax
jax.distributed.initialize(f"127.0.0.1:{ports[0]}", 2, index)
import keras
keras.distribution.set_distribution(keras.distribution.DataParallel(auto_shard_dataset=False))

def train(build, x, logger):
    return build().fit(x, x, batch_size=8, verbose=0, callbacks=[logger]).history
""",
    "torch": """
import torch
address = f"tcp://127.0.0.1:{ports[0]}"
torch.distributed.init_process_group("gloo", init_method=address, rank=index, world_size=2)
import keras

def train(build, x, logger):
    return build().fit(x, x, batch_size=8, verbose=0, callbacks=[logger]).history
""",
}
REST = """
import numpy as np
from keras_fracinit import MomentLogger

def build():
    keras.utils.set_random_seed(0)
    dense, normal = keras.layers.Dense, keras.layers.BatchNormalization()
    model = keras.Sequential([keras.Input((4,)), dense(4, "relu"), normal, dense(4)])
    model.compile("sgd", "mse")
    return model

x = np.random.default_rng(0).normal(size=(16, 4)).astype("float32")
quantities = ("activations", "weights", "gradients", "updates")
logger = MomentLogger((x, x), quantities=quantities, path=sys.argv[1], log_dir=sys.argv[2])
logs = train(build, x, logger)
history = logger.history[logger.history.statistic != "seconds"]
print(json.dumps([history.value.fillna(-1).tolist(), sorted(logs)]))
"""


@pytest.mark.slow
def test_one_of_two_processes_writes(tmp_path):
    sockets = [socket.socket() for _ in range(2)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    path, events = tmp_path / "moments.csv", tmp_path / "events"
    processes = []
    for index in range(2):
        head = f"import json, os, sys\nindex, ports = {index}, {ports}\n"
        command = [sys.executable, "-c", head + JOIN[BACKEND] + REST, str(path), str(events)]
        # One device for each process, not the eight of this session.
        environment = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
        pipe = subprocess.PIPE
        processes.append(subprocess.Popen(command, env=environment, stdout=pipe, stderr=pipe))
    try:
        outputs = [process.communicate(timeout=240) for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], outputs
    first, second = (json.loads(out.decode().splitlines()[-1]) for out, _ in outputs)
    assert first[1] == second[1]
    assert len([key for key in first[1] if key.endswith("slope/s1")]) == 2
    assert first[0] == pytest.approx(second[0], rel=1e-5)  # both have measured the same model
    frame = pd.read_csv(path)
    assert len(frame[frame.statistic != "seconds"]) == len(first[0])
    assert set(frame.run) == {0}
    assert frame.step.unique().tolist() == [0, 2]
    assert len([*events.iterdir()]) == 1
