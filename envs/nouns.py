"""Nouns: what the simulator's objects are called in plain words."""

import re

NOUNS = {
    "Allmap": "a computer map", "ArmorBonus": "a helmet", "BFG9000": "a very large gun",
    "Backpack": "a backpack", "Berserk": "a black medical kit", "BigTree": "a big tree",
    "BloodyTwitch": "a hanging body", "BlueArmor": "blue armour", "BlueCard": "a blue key card",
    "BlueSkull": "a blue skull key", "BlueTorch": "a blue torch", "BlurSphere": "a flickering orb",
    "BossBrain": "a large brain", "BrainStem": "a brain on the floor", "BurningBarrel": "a burning barrel",
    "Candelabra": "a candelabra", "Candlestick": "a candle", "Cell": "a small battery",
    "CellPack": "a large battery", "Chaingun": "a chain gun", "Chainsaw": "a chain saw",
    "Clip": "a clip of bullets", "ClipBox": "a box of bullets", "ColonGibs": "gore on the floor",
    "Column": "a floor lamp", "DeadCacodemon": "a dead monster", "DeadDemon": "a dead monster",
    "DeadDoomImp": "a dead monster", "DeadMarine": "a dead soldier", "DeadShotgunGuy": "a dead soldier",
    "DeadStick": "an impaled body", "DeadZombieMan": "a dead soldier", "EvilEye": "a floating eye",
    "ExplosiveBarrel": "a barrel", "FloatingSkull": "a floating skull", "GibbedMarine": "gore on the floor",
    "GibbedMarineExtra": "gore on the floor", "Gibs": "gore on the floor", "GreenArmor": "green armour",
    "GreenTorch": "a green torch", "HangBNoBrain": "a hanging body", "HangNoGuts": "a hanging body",
    "HangTLookingDown": "a hanging body", "HangTLookingUp": "a hanging body",
    "HangTNoBrain": "a hanging body", "HangTSkull": "a hanging body", "HeadCandles": "skulls with candles",
    "HeadOnAStick": "a skull on a pole", "HeadsOnAStick": "skulls on a pole",
    "HealthBonus": "a small bottle", "HeartColumn": "a pillar with a heart",
    "Infrared": "a pair of goggles", "InvulnerabilitySphere": "a green orb", "LiveStick": "an impaled body",
    "Meat2": "a hanging body", "Meat3": "a hanging body", "Meat4": "a hanging body",
    "Meat5": "a hanging leg", "Medikit": "a medical kit", "Megasphere": "a bright orb",
    "NonsolidMeat2": "a hanging body", "NonsolidMeat3": "a hanging body", "NonsolidMeat4": "a hanging body",
    "NonsolidMeat5": "a hanging leg", "NonsolidTwitch": "a hanging body", "PlasmaRifle": "a plasma rifle",
    "RadSuit": "a protective suit", "RedCard": "a red key card", "RedSkull": "a red skull key",
    "RedTorch": "a red torch", "RocketAmmo": "a rocket", "RocketBox": "a box of rockets",
    "RocketLauncher": "a rocket launcher", "Shell": "a few shotgun shells",
    "ShellBox": "a box of shotgun shells", "ShortBlueTorch": "a short blue torch",
    "ShortGreenColumn": "a short green pillar", "ShortGreenTorch": "a short green torch",
    "ShortRedColumn": "a short red pillar", "ShortRedTorch": "a short red torch", "Shotgun": "a shotgun",
    "SkullColumn": "a pillar with a skull", "SmallBloodPool": "a pool of blood", "Soulsphere": "a blue orb",
    "Stalagtite": "a brown stump", "Stimpack": "a small medical kit", "SuperShotgun": "a double shotgun",
    "TallGreenColumn": "a tall green pillar", "TallRedColumn": "a tall red pillar",
    "TechLamp": "a tall lamp", "TechLamp2": "a lamp", "TechPillar": "a metal pillar",
    "TorchTree": "a bare tree", "YellowCard": "a yellow key card", "YellowSkull": "a yellow skull key",
}  # fmt: skip
"""Every kind of object in the 68 levels without monsters (counted once over all of them)."""

HIDDEN = frozenset({"BulletPuff", "TeleportFog", "ItemFog", "TeleportDest"})
"""What is seen but nobody would speak of: effects."""


def noun_of(object_name: str) -> str | None:
    """Return an object's noun with its article; None for what nobody would speak of.

    An unknown name is split into its words: "GreenBarrel2" is "a green barrel".
    """
    if object_name in HIDDEN:
        return None
    if object_name in NOUNS:
        return NOUNS[object_name]
    words = " ".join(re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", object_name)).lower()
    if not words:
        return None
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def is_plural(noun: str) -> bool:
    """Say whether a noun takes "are"."""
    return noun.startswith(("skulls", "a few"))
