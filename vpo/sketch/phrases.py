"""The sentences of which expert captions are composed; words only, no logic.

Every sentence speaks about one facet, so that a caption can leave a facet out, and holds no wording of any other facet,
so that `vocabulary.find_facets` reads exactly the scene back (a test draws many). Braces are filled by `grammar.py`:
{np} 'two red dogs', {be} 'are', {has} 'have', {s} '' ('s' for one), {subject} 'dogs', {gen} 'animals', {its} 'their',
{it} 'them', {w} the facet's wording, {in_place} 'on the beach', {lit} 'at sunset', {styled} 'in a cartoon style',
{while} 'while the camera pans left', {d} a detail of the concept.
"""

PLACE_PREPOSITIONS = {
    "beach": "on", "seashore": "along", "coast": "along", "forest": "in", "woods": "in", "woodland": "in", "city": "in",
    "street": "on", "downtown": "through", "snow": "in", "snowy field": "across", "winter plain": "across",
    "desert": "in",
    "dunes": "among", "dry plain": "across", "ocean": "over", "sea": "over", "open water": "over", "meadow": "in",
    "grass field": "across", "pasture": "in", "room": "in", "bedroom": "in", "parlor": "in",
}  # fmt: skip
BARE_PLACES = ("downtown",)  # take no article

LIT = {
    "daylight": "in daylight", "sunny day": "on a sunny day", "midday sun": "under the midday sun",
    "sunset": "at sunset",
    "golden hour": "at golden hour", "dusk": "at dusk", "night": "at night", "moonlight": "in moonlight",
    "starlight": "under starlight", "fog": "in fog", "mist": "in mist", "haze": "in haze",
    "neon lights": "under neon lights",
    "neon glow": "in a neon glow", "electric signs": "under electric signs", "candlelight": "by candlelight",
    "candle glow": "in a candle glow", "firelight": "by firelight",
}  # fmt: skip
LIGHT_NOUNS = {
    "daylight": "clear daylight", "sunny day": "the clear light of a sunny day", "midday sun": "the midday sun",
    "sunset": "a warm sunset", "golden hour": "soft golden hour light", "dusk": "the last light of dusk",
    "night": "the deep dark of night", "moonlight": "cool moonlight", "starlight": "faint starlight",
    "fog": "thick soft fog", "mist": "a veil of mist", "haze": "a dim haze", "neon lights": "bright neon lights",
    "neon glow": "a vivid neon glow", "electric signs": "rows of electric signs", "candlelight": "gentle candlelight",
    "candle glow": "a warm candle glow", "firelight": "low firelight",
}  # fmt: skip

CAMERA_VERBS = {
    "static camera": "stays static", "fixed camera": "remains fixed", "holds its place": "holds its place",
    "pan left": "pans left", "panning left": "is panning left", "sweeps to the left": "sweeps to the left",
    "pan right": "pans right", "panning right": "is panning right", "sweeps to the right": "sweeps to the right",
    "zoom in": "zooms in", "zooming in": "is zooming in", "pushes closer": "pushes closer",
    "zoom out": "zooms out", "zooming out": "is zooming out", "pulls away": "pulls away",
    "tilt up": "tilts up", "tilting up": "is tilting up", "cranes upward": "cranes upward",
}  # fmt: skip

OPENINGS = (
    "{Np} {be} {motion} {in_place}.",
    "{Np} {be} {motion} {in_place}, {manner}.",
    "{In_place}, {np} {be} {motion} {manner}.",
    "{In_place}, {np} {be} {motion}.",
    "{Np} {be} {motion} {in_place} {lit}.",
    "{Lit}, {np} {be} {motion} {in_place}.",
    "{Np} {be} {motion} {manner}.",
    "{Lit}, {np} {be} {motion} {manner}.",
    "{Styled}, {np} {be} {motion} {in_place}.",
    "{Styled}, {np} {be} {motion} {manner}.",
    "{While}, {np} {be} {motion} {in_place}.",
    "{Np} {be} {motion} {in_place} {while}.",
)
STILL = "shown"  # what a subject is where no motion is named: '{np} {be} shown in the forest'

MANNERS = {
    "run": ("at full speed", "with great energy", "as fast as {they} can"),
    "drift": ("at an easy pace", "without any hurry", "in a smooth line"),
    "jump": ("again and again", "with springy steps", "in a lively rhythm"),
    "circle": ("around the same spot", "in wide even rounds", "over and over"),
    "spin": ("around and around", "on the spot", "like a small top"),
    "rise": ("higher and higher", "toward the top", "with steady lift"),
    "fall": ("lower and lower", "toward the bottom", "little by little"),
    "sway": ("from side to side", "back and forth", "in a gentle rhythm"),
}

SUBJECT_SENTENCES = (
    "The {subject} {has} {d}.",
    "Every detail of the {subject} is easy to see, with {d}.",
    "The {gen} {look} lively, with {d}.",
    "Up near the middle, the {gen} {has} {d}.",
    "{D} make the {subject} stand out at once.",
)
SUBJECT_KINDS = {
    "dog": "animal", "cat": "animal", "bird": "animal", "fish": "animal", "rabbit": "animal", "turtle": "animal",
    "butterfly": "animal", "car": "machine", "boat": "machine", "robot": "machine", "rocket": "machine",
    "balloon": "toy", "kite": "toy", "umbrella": "toy",
}  # fmt: skip
SUBJECT_DETAILS = {
    "animal": ("clever eyes and a proud pose", "a neat outline and curious eyes", "clean lines and a happy face"),
    "machine": ("polished panels and a solid body", "tidy seams and a sturdy build", "smooth metal and round corners"),
    "toy": ("taut cloth and a simple shape", "fine stitches and a round outline", "smooth fabric and a neat shape"),
}
GENERAL = {"animal": ("animal", "animals"), "machine": ("machine", "machines"), "toy": ("toy", "toys")}

PLACE_SENTENCES = (
    "Behind {it}, we can see the {w}, with {d}.",
    "All around the {w}, there are {d}.",
    "{D} fill the {w} behind {it}.",
    "{D} belong to the {w} around {it}.",
)
PLACE_DETAILS = {
    "beach": ("wet sand and small shells", "low waves and smooth stones", "foam and warm sand"),
    "forest": ("tall trunks and soft moss", "thick leaves and old roots", "ferns and high branches"),
    "city": ("tall buildings and busy windows", "shop fronts and wide corners", "brick walls and high towers"),
    "snow": ("deep powder and frozen pines", "frost and quiet hills", "smooth banks and icy stones"),
    "desert": ("ridges of sand and bare rock", "dry stones and long ripples", "cactus and cracked ground"),
    "ocean": ("rolling waves and salt foam", "wide swells and salty spray", "small waves and wet wind"),
    "meadow": ("tall stalks and wild flowers", "clover and soft hills", "daisies and low bushes"),
    "room": ("wooden floors and soft curtains", "a woven rug and tidy shelves", "framed pictures and plain walls"),
}

LIGHT_SENTENCES = (
    "The scene is lit by {noun}, bringing {d}.",
    "Thanks to {noun}, everything has {d}.",
    "Everything stands in {noun}, with {d}.",
    "The lighting comes from {noun}, with {d}.",
)
LIGHT_DETAILS = {
    "day": ("crisp edges and clean contrast", "open shade and fine detail"),
    "sunset": ("long shadows and warm edges", "a tender warmth and soft contrast"),
    "night": ("deep shadows and a cool hush", "quiet shadows and cold edges"),
    "fog": ("soft edges and faint shapes", "low contrast and gentle depth"),
    "neon": ("sharp reflections and electric tones", "strong contrast and vivid tones"),
    "candle": ("warm shadows and a cozy mood", "small shadows and a tender warmth"),
}

CAMERA_SENTENCES = (
    "The camera {adverb} {verb}, {purpose}.",
    "The camera {verb} {adverb}, {purpose}.",
    "Meanwhile the camera {verb} {adverb}, {purpose}.",
)
CAMERA_ADVERBS = ("slowly", "smoothly", "gently", "steadily")
STATIC_ADVERBS = ("calmly", "simply", "patiently")
CAMERA_PURPOSES = (
    "keeping the {subject} in view",
    "so that the {gen} {be} always clear",
    "and {its} shape stays sharp",
)

STYLE_SENTENCES = (
    "The whole picture has a {w} look, with {d}.",
    "It is made in a {w} style, with {d}.",
    "A {w} style gives {d}.",
    "The {w} style adds {d}.",
)
STYLE_DETAILS = {
    "cinematic": ("rich contrast and wide framing", "deep tones and careful framing"),
    "cartoon": ("bold outlines and flat shapes", "thick lines and simple forms"),
    "watercolor": ("soft edges and paper texture", "thin washes and paper grain"),
    "pixel art": ("small square blocks and hard edges", "chunky blocks and simple tones"),
}

MOODS = (
    "The mood is calm and friendly.",
    "The feeling is cheerful and relaxed.",
    "Everything seems peaceful and simple.",
    "The moment feels playful and warm.",
    "The whole moment stays quiet and clear.",
)
PADDING = (
    "Nothing else distracts from this quiet and simple moment.",
    "Each small detail is crisp, clean and pleasant to look at.",
    "The composition is balanced, with enough space on every side.",
    "Fine textures can be seen everywhere, and nothing feels crowded.",
    "The tones work well together and make the picture pleasant.",
    "Time seems to slow down, and every second feels worth keeping.",
)
LEAD_INS = ("The video shows how", "The video opens as", "In this video we see that")

QUALITY = (
    "8k",
    "4k",
    "hd",
    "high quality",
    "highly detailed",
    "ultra detailed",
    "best quality",
    "beautiful",
    "beautifull",
)
ASKING = ("a video of", "make a video of", "vidoe of", "i want", "please show", "show me", "generate", "short clip of")
FLAGS = (
    "-ar 16:9", "--ar 16:9", "-ar 9:16", "-motion 2", "-motion 4", "-gs 24", "-fps 24", "-neg blur",
    "-neg text, watermark",
)  # fmt: skip
TYPOS = {"with": "wiht", "the": "teh", "and": "adn"}

# For queries beyond the grammar: sentences that say nothing that could be at odds with any query.
NEUTRAL = {
    "motion": (
        "Any movement looks natural from beginning to end.",
        "Whatever moves does so at its own pace.",
        "The movement stays true to what happens here.",
    ),
    "place": (
        "The surroundings belong to the scene and give it depth.",
        "The setting is shown with the same care as all the rest.",
        "The background fits what happens in front of it.",
    ),
    "light": (
        "The light suits the scene and shows what matters.",
        "The lighting fits the mood that the scene has.",
        "Light and shadow follow the forms of the scene.",
    ),
    "camera": (
        "The camera keeps what matters in view.",
        "The camera gives its whole attention to what the scene is about.",
        "The shot is framed around what the scene is about.",
    ),
}
NEUTRAL_PADDING = (
    "Each detail that is named can be recognised at once.",
    "The picture leaves out what does not belong to it.",
    "The proportions are right and the forms are consistent.",
    "Textures look as they should, near by and further away.",
    "The picture holds together from the first frame to the last.",
    "Every part of it is shown with care.",
)
