def get_image_size(resolution: str, ratio: str) -> tuple[int, int]:
    return {("240p", "9:16"): (32, 49)}[resolution, ratio]  # an odd width, as some of the real sizes have
