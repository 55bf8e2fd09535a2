"""Networks: K at once against each alone, convolutions and their mirror images, and the PixelCNN's order of pixels."""

import itertools
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import conv2d, glu, linear, relu
from torch.utils._python_dispatch import TorchDispatchMode

from mixvae.distributions.likelihoods import Bernoulli
from mixvae.errors import UserError
from mixvae.nets import decoder, decoders, encoder, features, generate
from mixvae.nets import pixelcnn as pixelcnns
from mixvae.study.layers import feature_shapes
from mixvae.study.parts import MLP, Conv, Deconv, PixelCNN

PAPER = Conv(name="conv")
CIFAR = ((32, 4, 2), (64, 4, 2), (128, 4, 2))
SMALL = ((6, 3, 1), (8, 5, 2), (5, 4, 2))


@pytest.mark.parametrize(
    ("shape", "layers", "expected"),
    [((1, 28, 28), PAPER.layers, 294), ((3, 32, 32), CIFAR, 2048), ((1, 8, 8), PAPER.layers, 24)],
)
def test_convolutions_leave_the_published_number_of_features(shape, layers, expected):
    settings = Conv(name="conv", layers=layers)
    network, width = features(settings, 2, shape)
    assert width == expected
    assert network(torch.rand(3, math.prod(shape))).shape == (2, 3, expected)
    assert encoder(settings, 2, shape, 8)(torch.rand(3, math.prod(shape))).shape == (2, 3, 8)


def test_an_image_too_small_for_the_layers_is_the_users_error():
    with pytest.raises(UserError, match=r"layers: \[4, 4\] pixels are too few for layer 3 of 3, \[128, 4, 2\]"):
        features(Conv(name="conv", layers=CIFAR), 1, (1, 4, 4))


@pytest.mark.parametrize("activation", ["gated", "relu"])
def test_every_convolutional_encoder_is_the_plain_one_of_its_own_weights(activation):
    torch.manual_seed(0)
    K, shape = 3, (2, 9, 11)
    network = features(Conv(name="conv", layers=SMALL, activation=activation), K, shape)[0].double()
    x = torch.rand(4, 198, dtype=torch.float64)
    shared, own = network(x), network(torch.stack([x, 2 * x, 3 * x]))
    weights = list(network.parameters())
    own_weights = [weights[k * len(weights) // K : (k + 1) * len(weights) // K] for k in range(K)]
    for k in range(K):
        for scale, ours in ((1, shared), (k + 1, own)):
            h = scale * x.view(4, *shape)
            for weight, bias, stride, pad in zip(own_weights[k][::2], own_weights[k][1::2], (1, 2, 2), (1, 2, 1), strict=True):
                h = conv2d(h, weight, bias, stride, pad)
                h = glu(h, 1) if activation == "gated" else relu(h)
            np.testing.assert_allclose(ours[k].detach(), h.flatten(1).detach())
    assert (shared[0] != shared[1]).any()


@pytest.mark.parametrize("name", ["mlp", "conv"])
def test_encoders_of_one_component_do_not_read_anothers_input(name):
    torch.manual_seed(0)
    settings = MLP(hidden=(5,)) if name == "mlp" else Conv(name="conv", layers=SMALL)
    x = torch.rand(3, 2, 64, requires_grad=True)
    out = encoder(settings, 3, (1, 8, 8), 4)(x)
    (gradient,) = torch.autograd.grad(out[1].sum(), x)
    assert gradient[1].abs().sum() > 0
    assert gradient[[0, 2]].abs().sum() == 0


def test_features_without_layers_are_the_points_themselves():
    x = torch.rand(5, 3)
    network, width = features(MLP(hidden=()), 2, (3,))
    assert width == 3
    np.testing.assert_array_equal(network(x), x.expand(2, 5, 3))


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (1, 8, 8), (1, 9, 11), (2, 13, 9)])
@pytest.mark.parametrize("layers", [PAPER.layers, CIFAR, SMALL, ((2, 5, 3), (2, 2, 2))])
@pytest.mark.parametrize("activation", ["gated", "relu"])
def test_a_mirrored_decoder_has_the_encoders_feature_maps_in_reverse(shape, layers, activation):
    outputs = 5 * math.prod(shape[1:])
    network = decoder(Deconv(name="deconv", layers=layers, activation=activation), (3,), shape, outputs)
    seen = []
    for module in network.layers:
        if isinstance(module, nn.ConvTranspose2d):
            module.register_forward_hook(lambda module, inputs, output: seen.append((inputs[0].shape[1:], output.shape[2:])))
    assert network([torch.randn(2, 4, 3)], None).shape == (2, 4, outputs)
    shapes = feature_shapes(shape, layers)[::-1]
    assert [before for before, _ in seen] == shapes[:-1]
    assert [after for _, after in seen] == [after[1:] for after in shapes[1:]]


@pytest.mark.parametrize("settings", [MLP(hidden=(6, 5)), Deconv(name="deconv", layers=SMALL)], ids=lambda s: s.name)
def test_each_of_k_decoders_is_one_decoder(settings):
    torch.manual_seed(0)
    K, shape, outputs = 3, (1, 8, 8), 128
    together = decoders(settings, K, 4, shape, outputs).double()
    codes = torch.randn(2, K, 5, 4, dtype=torch.float64)
    h = together(codes)
    assert h.shape == (2, K, 5, outputs)
    for k in range(K):
        alone = decoder(settings, (4,), shape, outputs).double()
        ours = list(together.layers.networks[k].parameters()) if settings.name == "deconv" else list(together.parameters())
        for parameter, source in zip(alone.parameters(), ours, strict=True):
            if settings.name == "mlp":
                source = source[k].T.squeeze(-1) if source.shape[1] == 1 else source[k].T
            parameter.data.copy_(source)
        np.testing.assert_allclose(alone([codes[:, k]], None).detach(), h[:, k].detach(), atol=1e-12)
    np.testing.assert_allclose(together(codes[0]).detach(), h[0].detach(), atol=1e-12)


def test_two_codes_meet_behind_a_gated_layer_of_their_own():
    torch.manual_seed(0)
    network = decoder(MLP(hidden=(4, 6)), (2, 3), (7,), 7).double()
    codes = [torch.randn(2, 5, 2, dtype=torch.float64), torch.randn(2, 5, 3, dtype=torch.float64)]
    w = list(network.parameters())
    assert [tuple(part.shape) for part in w] == [(8, 2), (8,), (8, 3), (8,), (12, 8), (12,), (7, 6), (7,)]
    h = torch.cat([glu(linear(codes[0], w[0], w[1])), glu(linear(codes[1], w[2], w[3]))], dim=-1)
    expected = linear(glu(linear(h, w[4], w[5])), w[6], w[7])
    np.testing.assert_allclose(network(codes, None).detach(), expected.detach())


@pytest.mark.parametrize(
    "settings",
    [
        MLP(hidden=(30, 90)),
        MLP(hidden=(90, 30), activation="relu"),
        Deconv(name="deconv", layers=SMALL),
        Deconv(name="deconv", layers=SMALL, activation="gated"),
    ],
)
def test_width_is_that_of_the_widest_array_a_sample_passes_through(settings):
    network = decoder(settings, (4,), (1, 8, 8), 64)
    sizes = []
    for module in network.modules():
        if not list(module.children()):
            module.register_forward_hook(lambda module, inputs, output: sizes.append(output[0].numel()))
    network([torch.randn(1, 4)], torch.rand(1, 64))
    assert network.width == max(sizes)


class Largest(TorchDispatchMode):
    """Notes the size of the largest array that an operation makes."""

    size = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for tensor in torch.utils._pytree.tree_leaves(result):
            self.size = max(self.size, tensor.numel() if isinstance(tensor, torch.Tensor) else 0)
        return result


@pytest.mark.parametrize("latents", [(4,), (4, 3)])
def test_a_pixelcnn_holds_its_width_per_sample_and_the_maps_of_a_block(latents, monkeypatch):
    """The padded maps of as many images as a block has, however many there are."""
    monkeypatch.setattr(pixelcnns, "BLOCK", {"cpu": 5})
    network, N = decoder(PixelCNN(name="pixelcnn", layers=2, channels=7), latents, (1, 8, 8), 64), 200
    for n in (5, N):
        with torch.no_grad(), Largest() as largest:
            network([torch.randn(n, Z) for Z in latents], torch.rand(n, 64))
        assert largest.size == max(n * network.width, 5 * 7 * 9 * 8)


def test_generated_images_are_means_of_factorised_decoders():
    network = decoder(MLP(hidden=(5,)), (2,), (1, 2, 2), 4)
    code = torch.randn(2, 3, 2)
    np.testing.assert_allclose(
        generate(network, Bernoulli((4,)), [code]).detach(), network([code], None).sigmoid().detach(), rtol=1e-6
    )


def pixelcnn(shape, layers=3, channels=12, scale=3.0):
    """A float64 PixelCNN with weights `scale` times as large as at the start."""
    torch.manual_seed(0)
    network = decoder(PixelCNN(name="pixelcnn", layers=layers, channels=channels), (2, 3), shape, math.prod(shape)).double()
    for parameter in network.parameters():
        parameter.data *= scale
    return network


def codes_of(*lead):
    return [torch.randn(*lead, Z, dtype=torch.float64) for Z in (2, 3)]


def binary(*shape):
    return torch.randint(0, 2, shape).double()


@torch.no_grad()
def test_pixelcnn_is_masked_3x3_convolutions_over_image_and_planes():
    L, K, B, H, W = 2, 2, 3, 4, 5
    network, codes, x = pixelcnn((1, H, W)), codes_of(L, K, B), binary(B, H * W)
    strictly_before = torch.tensor([[1.0, 1, 1], [1, 0, 0], [0, 0, 0]], dtype=torch.float64)
    before = strictly_before.clone()
    before[1, 1] = 1

    def kernel(layer):
        return nn.functional.pad(layer.weight, (0, 0, 0, 1))

    expected = torch.empty(L, K, B, H * W, dtype=torch.float64)
    for index in np.ndindex(L, K, B):
        planes = [plane(code[index]).view(1, H, W) for plane, code in zip(network.planes, codes, strict=True)]
        h = torch.cat([x[index[-1]].view(1, H, W), *planes])[None]
        masks = torch.stack([strictly_before, before, before])
        h = relu(conv2d(h, kernel(network.first) * masks, network.first.bias, padding=1))
        for layer in network.hidden:
            h = relu(conv2d(h, kernel(layer) * before, layer.bias, padding=1))
        expected[index] = conv2d(h, network.logit.weight, network.logit.bias).flatten()
    np.testing.assert_allclose(network(codes, x), expected, atol=1e-10)


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_flipping_a_pixel_changes_no_logit_up_to_it_and_some_logit_after_it(dtype):
    network = pixelcnn((1, 5, 6)).to(dtype)
    codes, x = [code.to(dtype) for code in codes_of(2)], binary(2, 30).to(dtype)
    logits = network(codes, x)
    for j in range(30):
        flipped = x.clone()
        flipped[:, j] = 1 - flipped[:, j]
        changed = network(codes, flipped)
        assert torch.equal(changed[:, : j + 1], logits[:, : j + 1])
        assert j == 29 or (changed[:, j + 1 :] != logits[:, j + 1 :]).any()


def test_jacobian_of_the_logits_is_strictly_lower_triangular():
    network, codes = pixelcnn((1, 4, 4)), codes_of(1)
    x = torch.rand(1, 16, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(lambda x: network(codes, x)[0], x)[:, 0]
    assert (jacobian.triu() == 0).all()
    assert (jacobian != 0).any(0)[:-1].all()
    # every logit sees every code
    for jacobian in torch.autograd.functional.jacobian(lambda *codes: network(codes, x)[0], tuple(codes)):
        assert (jacobian[:, 0].abs().sum(-1) > 0).all()


@torch.no_grad()
def test_probabilities_of_all_images_add_up_to_one():
    network = pixelcnn((1, 3, 3))
    images = torch.tensor(list(itertools.product((0.0, 1.0), repeat=9)), dtype=torch.float64)
    codes = [code.expand(512, -1) for code in codes_of(1)]
    log_prob = Bernoulli((9,))(network(codes, images), images).log_prob(images)
    np.testing.assert_allclose(log_prob.exp().sum(), 1, rtol=1e-10)
    assert log_prob.std() > 0.5


@torch.no_grad()
def test_likelihood_of_an_image_does_not_depend_on_its_batch():
    network, codes, x = pixelcnn((1, 5, 5)).train(), codes_of(4), binary(4, 25)
    together = Bernoulli((25,))(network(codes, x), x).log_prob(x)
    others = x.clone()
    others[1:] = 1 - others[1:]
    beside_others = Bernoulli((25,))(network(codes, others), others).log_prob(others)
    assert torch.equal(together[0], beside_others[0])
    assert not torch.equal(together[1:], beside_others[1:])
    alone = Bernoulli((25,))(network([code[:1] for code in codes], x[:1]), x[:1]).log_prob(x[:1])
    np.testing.assert_allclose(alone[0], together[0], rtol=1e-12)


@torch.no_grad()
@pytest.mark.parametrize("layers", [2, 4])
def test_samples_are_those_of_recomputing_the_whole_image_for_every_pixel(layers):
    N, H, W = 6, 5, 4
    network, codes = pixelcnn((1, H, W), layers), codes_of(N)
    torch.manual_seed(1)
    samples = network.sample(codes)
    torch.manual_seed(1)
    uniform = torch.rand(N, H * W, dtype=torch.float64)
    expected = torch.zeros(N, H * W, dtype=torch.float64)
    for j in range(H * W):
        expected[:, j] = (uniform[:, j] < network(codes, expected)[:, j].sigmoid()).double()
    np.testing.assert_array_equal(samples, expected)
    assert 0.05 < samples.mean() < 0.95


@torch.no_grad()
def test_sampled_images_have_the_models_probabilities():
    network = pixelcnn((1, 2, 2))
    images = torch.tensor(list(itertools.product((0.0, 1.0), repeat=4)), dtype=torch.float64)
    codes = codes_of(1)
    p = Bernoulli((4,))(network([code.expand(16, -1) for code in codes], images), images).log_prob(images).exp()
    samples = network.sample([code.expand(20_000, -1) for code in codes])
    frequency = torch.bincount((samples @ torch.tensor([8.0, 4, 2, 1], dtype=torch.float64)).long(), minlength=16) / 20_000
    np.testing.assert_allclose(frequency, p, atol=5 * 0.5 / math.sqrt(20_000))


def test_generated_images_of_a_pixelcnn_are_samples():
    images = generate(pixelcnn((1, 3, 4)), Bernoulli((12,)), codes_of(2, 5))
    assert images.shape == (2, 5, 12)
    assert set(images.unique().tolist()) == {0.0, 1.0}
