"""Gymnasium environments; importing this package registers their ids."""

import gymnasium

gymnasium.register(id="worldnav/DoomNav-v0", entry_point="envs.doom:DoomNav")
