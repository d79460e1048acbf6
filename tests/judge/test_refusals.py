"""Answers that do not rewrite are refusals; rewrites behind polite words, and scenes that merely sound alike, are not."""

import pytest

from tests.judge.conftest import kinds, mended_of, verdict_of
from vpo.judge.rules import RulesJudge

QUERY = "a cat dancing in space"
TALK = (
    "I am ready to help you generate videos. Please provide the query.",
    "I'm ready! What kind of video would you like to create?",
    "I\u2019d be happy to help you with your video! Could you please provide more details?",
    "Sure! I'd be happy to help. What would you like me to create?",
    "Sure, please provide the user's query and I will rewrite it.",
    "Please provide me with the text you'd like rewritten.",
    "Could you please provide more context for the scene?",
    "Hello! How can I assist you today?",
    "Hi there! I'm your video generation assistant.",
    "I am a helpful AI assistant named SmolLM, trained by Hugging Face.",
    "I'm SmolLM, a language model.",
    "My name is SmolLM and I'm an AI assistant.",
    "As your video assistant, I can create prompts from your ideas.",
    "Thank you for your message. To help you, I need more information about the video.",
    "It looks like you haven't provided a query. Please share one.",
    "It seems that your message was cut off.",
    "Your query is unclear.",
    "I need more details to write a prompt.",
    "I don't have enough information to do this.",
    "Let me know what you'd like to see in the video.",
    "Feel free to share your idea, and I'll do my best.",
    "I can help you with that! Just tell me what the video should show.",
    "I will help you create a video about a cat. Tell me more about the cat.",
    "What specific details would you like in the video?",
    "Do you have a particular scene in mind?",
    "Tell me more about what you want.",
    "I was designed to rewrite prompts for video models.",
    "My task is to rewrite user queries into prompts.",
    "That's a great idea! I'd love to help you bring it to life.",
    "**I'm here to help!** Please enter your prompt below.",
    "Assistant: I am ready to assist you.",
    "I understand you want a video of a cat. Could you tell me more about the setting?",
    "Of course! Please share the prompt you would like me to optimize.",
    "Once you provide the query, I will generate a detailed prompt.",
    "There is no query in your message.",
    "I'm just an AI and have no eyes.",
    "You haven't specified what the cat is doing. Can you describe it?",
    "Happy to help! Send me your prompt.",
    "We are here to help you create videos.",
    "I'm not sure what you mean.",
    "I would be glad to assist you in crafting a video. To get started, could you tell me about the main subject?",
    "As a prompt engineer, I recommend adding more details to your prompt.",
    "I can certainly assist you with generating a prompt for a video of a dancing cat.",
    "Sure!",
    "Great! What is the main subject of your video?",
    "I apologize, but I need more information.",
    "Welcome! I can generate videos of various styles, including cartoon.",
    "If you have any questions, feel free to ask.",
    "Would you like me to add more details?",
    "I'm here to assist with generating high-quality video prompts. Please describe the scene.",
)
REWRITES = (
    "Sure, I'd be happy to help! Here is a rewritten prompt: A cat is dancing in space while stars glow all around it.",
    "Of course. A cat is dancing in space while stars glow all around it in the dark.",
    "I'd be happy to help! A cat is dancing in space while stars glow all around it in the dark.",
    "Certainly! Here is your video prompt:\n\nA cat is dancing in space while stars glow all around it.",
    "I am ready to help you! Here's the optimized prompt:\n\n**Prompt:** A cat is dancing in space while stars glow all around it.",
)
SCENES = (
    "A cat is dancing in space.",
    "I walk through a forest at night, the camera on my shoulder.",
    "I am a knight who stands on a hill.",
    "I'm running along the beach at sunset.",
    "Please hold the door, a sign says, as a dog runs by.",
    "A man says: how can I help you today?",
    "A helpful assistant robot greets people in a shop.",
    "The message is written in the sand as waves roll in.",
    "The request is carved in stone.",
    "What a sunset over the quiet sea, with boats drifting home.",
    "Ready to race, two cars wait on a track.",
    "Happy to see its owner, a dog jumps up.",
    "Welcome to the jungle, a sign says between tall trees.",
    "Hello Kitty walks through a pink town.",
    "Great waves crash on the shore.",
    "How a flower opens in the morning light.",
    "You see a red car driving by.",
    "Provide shelter, a roof in the rain with people under it.",
    "Once upon a time a king stood in a hall.",
    "When you look closely, tiny ants carry leaves.",
    "To help a child, a firefighter climbs a ladder.",
    "I am a shop assistant who sorts apples.",
    "It looks like a painting, with a boat on a lake.",
    "There is no wind, and the sea is flat.",
    "My job is hard, says a miner in a dark tunnel.",
    "Let me fly, sings a bird.",
    "As a model walks on the runway, cameras flash.",
    "Here a dog runs.",
    "Thank you card on a table with flowers.",
    "Good morning light falls into a kitchen.",
    "You can see the whole city from the tower.",
    "Can you hear the sea, a child with a shell stands on the beach?",
)


@pytest.mark.parametrize("text", TALK)
def test_talk_is_a_refusal_and_nothing_of_it_is_kept(judge: RulesJudge, text: str) -> None:
    for answer in (text, f"\n{text.replace(chr(39), chr(0x2019))}"):
        assert verdict_of(judge, QUERY, answer).alignment == "refusal"
        refined = mended_of(judge, QUERY, answer)
        assert refined is not None
        assert refined == mended_of(judge, QUERY, "I cannot do this.")


@pytest.mark.parametrize("text", REWRITES)
def test_a_rewrite_behind_an_offer_is_kept_without_it(judge: RulesJudge, text: str) -> None:
    verdict = verdict_of(judge, QUERY, text)
    assert not verdict.refusal
    assert "lead_in" in [kind for kind, _ in kinds(verdict, "helpful")]
    assert mended_of(judge, QUERY, text).startswith("A cat is dancing in space while stars glow all around it")


@pytest.mark.parametrize("text", SCENES)
def test_a_scene_is_no_refusal(judge: RulesJudge, text: str) -> None:
    assert not verdict_of(judge, QUERY, text).refusal
