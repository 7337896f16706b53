"""What a weights file gives is taken, and what became of the rest is told."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file

from training.fit.pretrained import load_pretrained
from worker.errors import Rejected, Transient
from worker.model.architectures import build_model


def test_a_partial_file_is_loaded_as_far_as_it_goes_and_the_rest_is_told(tmp_path):
    given = build_model("resnet50").state_dict()
    file = tmp_path / "partial.safetensors"
    save_file({"conv1.weight": given["conv1.weight"], "fc.weight": torch.zeros(1000, 2048)}, file)
    model = build_model("resnet50")
    report = load_pretrained(model, "resnet50", str(file))
    assert report.loaded == ("conv1.weight",)
    assert report.unused == ("fc.weight",)
    assert "layer4.0.conv1.weight" in report.random
    assert torch.equal(model.conv1.weight, given["conv1.weight"])
    assert "1 tensors loaded: conv1.weight" in report.sentences()


def test_weights_of_another_network_are_refused(tmp_path):
    file = tmp_path / "wrong.safetensors"
    save_file({"encoder.weight": torch.zeros(2)}, file)
    with pytest.raises(Rejected, match=r"No tensor of wrong\.safetensors fits resnet50"):
        load_pretrained(build_model("resnet50"), "resnet50", str(file))


def test_a_weights_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(Rejected, match=r"There is no file absent\.safetensors"):
        load_pretrained(build_model("resnet50"), "resnet50", str(tmp_path / "absent.safetensors"))


def test_a_file_that_is_no_safetensors_is_refused(tmp_path):
    file = tmp_path / "notes.safetensors"
    file.write_text("no tensors here")
    with pytest.raises(Rejected, match=r"notes\.safetensors is no safetensors file"):
        load_pretrained(build_model("vgg16"), "vgg16", str(file))


def test_a_machine_without_internet_is_told_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # the discard port: nobody answers
    with pytest.raises(Transient, match=r"of vgg16 could not be fetched .*--pretrained FILE"):
        load_pretrained(build_model("vgg16"), "vgg16", "imagenet")
