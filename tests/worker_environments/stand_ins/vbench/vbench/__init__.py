"""In the place of the official VBench: the same class and files; a video is a text with its numbers, one a frame, and no pixels.

The rows of each dimension have the fields that VBench writes, and its number is summed as on one GPU.
"""

import json
import os

FRAMES = ("object_class", "multiple_objects", "scene")


class VBench:
    def __init__(self, device, full_info_dir, output_path):
        self.full_info_dir, self.output_path = full_info_dir, output_path
        os.makedirs(output_path, exist_ok=True)

    def evaluate(self, videos_path, name, dimension_list, **kwargs):
        (dimension,) = dimension_list
        if dimension == "human_action":
            raise RuntimeError("no weights of UMT")
        assert ("imaging_quality_preprocessing_mode" in kwargs) == (dimension == "imaging_quality")
        with open(self.full_info_dir, encoding="utf-8") as file:
            prompts = [row["prompt_en"] for row in json.load(file) if dimension in row["dimension"]]
        rows, total, count = [], 0.0, 0
        for prompt in prompts:
            for index in range(5):
                path = os.path.join(videos_path, f"{prompt}-{index}.mp4")
                if not os.path.exists(path):
                    continue
                with open(path, encoding="utf-8") as file:
                    numbers = json.load(file)
                mean = sum(numbers) / len(numbers) if numbers else None
                row = {"video_path": path, "video_results": mean}
                if dimension == "color" and mean is None:
                    continue  # no frame shows the object
                if dimension in FRAMES:
                    row.update(success_frame_count=sum(numbers), frame_count=len(numbers))
                if dimension == "spatial_relationship":
                    row.update(frame_results=numbers)
                rows.append(row)
                by_frame = dimension in FRAMES or dimension == "spatial_relationship"
                total += sum(numbers) if by_frame else mean
                count += len(numbers) if by_frame else 1
        score = total / count
        with open(os.path.join(self.output_path, f"{name}_eval_results.json"), "w", encoding="utf-8") as file:
            json.dump({dimension: [score / 100 if dimension == "imaging_quality" else score, rows]}, file)
