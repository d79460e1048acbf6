"""Stands in for transformers 4.42 and the code of VisionReward-Video: a model that answers by the words of a question."""

import torch

__version__ = "4.42.4"
TOKENS = ["no", "yes", "maybe"]


class AutoTokenizer:
    @classmethod
    def from_pretrained(cls, path, *, revision, trust_remote_code):
        return cls()

    def decode(self, token: torch.Tensor) -> str:
        return TOKENS[int(token)]


class AutoModelForCausalLM:
    device = None

    @classmethod
    def from_pretrained(cls, path, *, revision, trust_remote_code, torch_dtype):
        return cls()

    def eval(self):
        return self

    def to(self, device):
        return self

    def build_conversation_input_ids(self, *, tokenizer, query, images, history, template_version):
        assert template_version == "chat"
        assert query.endswith("\n")
        video = images[0]
        assert video.shape[0] == 3
        bright = float(video.float().mean()) > 128
        # "cat": yes; "lighting": an answer that is none; "bright": what the frames say; else no.
        answer = 1 if "cat" in query else 2 if "lighting" in query else int("bright" in query and bright)
        ids = torch.tensor([5, 6, answer])
        return {"input_ids": ids, "token_type_ids": ids, "attention_mask": ids, "images": [video]}

    def generate(self, *, input_ids, token_type_ids, attention_mask, images, **options):
        assert options == {
            "max_new_tokens": 1, "do_sample": False, "top_k": 1, "pad_token_id": 128002, "temperature": None, "top_p": None,
        }  # fmt: skip
        return torch.cat([input_ids, input_ids[:, -1:]], dim=1)
