"""Small models of every architecture that plans and diagnoses are tested on."""

import keras
import numpy as np

layers, ops = keras.layers, keras.ops


def array(tensor):
    return np.asarray(ops.convert_to_numpy(tensor))


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def weights(model):
    return [array(variable) for variable in model.weights]


def equal(first, second):
    return all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


def mlp(width=8, activation="relu", **options):
    hidden = [layers.Dense(width, activation, name=f"hidden_{i}", **options) for i in range(3)]
    return keras.Sequential([keras.Input((6,)), *hidden, layers.Dense(2, name="last", **options)])


def vgg():
    blocks = []
    for filters in (4, 8):
        blocks += [layers.Conv2D(filters, 3, padding="same", activation="relu") for _ in range(2)]
        blocks += [layers.MaxPooling2D()]
    head = [layers.Flatten(), layers.Dense(10), layers.Dropout(0.5), layers.ReLU()]
    head += [layers.Dense(3, "softmax")]
    return keras.Sequential([keras.Input((8, 8, 3)), *blocks, *head])


def resnet(norm):
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, padding="same", activation="relu")(inputs)
    for _ in range(2):
        y = layers.Conv2D(4, 3, padding="same", use_bias=not norm)(x)
        y = layers.ReLU()(layers.BatchNormalization()(y) if norm else y)
        y = layers.Conv2D(4, 3, padding="same", use_bias=not norm)(y)
        x = layers.ReLU()(layers.add([x, layers.BatchNormalization()(y) if norm else y]))
    return keras.Model(inputs, layers.Dense(3)(layers.GlobalAveragePooling2D()(x)))


def preactivation_resnet():
    """The stream meets an activation in each block and a kernel at its end: it keeps its size."""
    inputs = keras.Input((6,))
    x = layers.Dense(8)(inputs)
    for _ in range(2):
        x = x + layers.Dense(8)(layers.Dense(8, "relu")(ops.relu(x)))
    return keras.Model(inputs, layers.Dense(3)(x))


def mobilenet():
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, strides=2, padding="same", activation="relu")(inputs)
    x = layers.DepthwiseConv2D(3, padding="same", activation="relu")(x)
    x = layers.Conv2D(6, 1, activation="relu")(x)
    x = layers.DepthwiseConv2D(5, depth_multiplier=2, padding="same")(x)
    x = layers.Conv2D(8, 3, groups=2, dilation_rate=2, padding="same")(layers.LeakyReLU()(x))
    x = layers.SeparableConv2D(5, 3, activation="relu")(x)
    return keras.Model(inputs, layers.Dense(3)(layers.GlobalAveragePooling2D()(x)))


def autoencoder():
    encoder = [layers.Conv2D(4, 3, 2, padding="same", activation="relu")]
    decoder = [
        layers.Conv2DTranspose(6, 4, 2, padding="same", activation="relu"),
        layers.Conv2DTranspose(3, 3, 2, padding="same", activation="sigmoid"),
    ]
    return keras.Sequential([keras.Input((8, 8, 3)), *encoder, *decoder])


def transformer():
    tokens = keras.Input((7,), dtype="int32")
    x = layers.Embedding(11, 8)(tokens)
    attended = layers.MultiHeadAttention(2, 5)(layers.LayerNormalization()(x), x)
    x = layers.LayerNormalization()(x + attended)
    y = layers.Dense(8)(layers.Dense(16, "relu")(x))
    x = layers.LayerNormalization()(x + y)
    return keras.Model(tokens, layers.Dense(3)(layers.GlobalAveragePooling1D()(x)))


def grouped_query():
    inputs = keras.Input((7, 8))
    x = layers.GroupQueryAttention(4, 6, 3)(inputs, inputs)
    return keras.Model(inputs, layers.Dense(3)(x))


def lstm():
    tokens = keras.Input((5,), dtype="int32")
    x = layers.Embedding(11, 8, mask_zero=True)(tokens)
    x = layers.Bidirectional(layers.LSTM(4, return_sequences=True))(x)
    x = layers.TimeDistributed(layers.Dense(6))(x)
    x = layers.GRU(5)(layers.ReLU()(x))
    return keras.Model(tokens, layers.Dense(1, "sigmoid")(x))


def conv_lstm():
    inputs = keras.Input((3, 6, 6, 2))
    x = layers.GlobalAveragePooling2D()(layers.ConvLSTM2D(4, 3)(inputs))
    return keras.Model(inputs, layers.Dense(3)(x))


class Block(layers.Layer):
    def __init__(self, units, symbolic=True, **kwargs):
        super().__init__(**kwargs)
        self.first, self.second = layers.Dense(2 * units), layers.Dense(units)
        self.dropout, self.act = layers.Dropout(0.2), layers.LeakyReLU(negative_slope=0.1)
        self.symbolic = symbolic

    def call(self, inputs, training):
        if not self.symbolic and keras.backend.is_keras_tensor(inputs):
            raise TypeError("no symbols here")  # as an operation of the backend's own would
        x = self.dropout(self.act(self.first(inputs)), training=training)
        return inputs + self.second(x)


class Subclassed(keras.Model):
    def __init__(self, symbolic=True):
        super().__init__()
        self.stem = layers.Dense(8, "relu")
        self.blocks = [Block(8, symbolic) for _ in range(2)]
        self.inner = keras.Sequential([layers.Dense(4, "relu"), layers.Dense(3)])
        self.unused = layers.Dense(5)

    def build(self, input_shape):
        self.unused.build((None, 4))
        super().build(input_shape)

    def call(self, inputs, training=False):
        x = self.stem(inputs)
        for block in self.blocks:
            x = block(x, training=training)
        return self.inner(x)


def subclassed(symbolic=True):
    model = Subclassed(symbolic)
    model(normal(1, 6))
    return model
