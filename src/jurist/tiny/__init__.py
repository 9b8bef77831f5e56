"""The tiny world, and what answers as `tiny:NAME` wherever an engine is named."""

from ..config import settings_from
from ..engines.engine import Engine, EngineConfig
from ..engines.scripted import Scripted
from ..errors import SettingError, nearest
from ..records import content_id
from .answers import careful, kin, sloppy, wordy
from .judges import BY_NAME, Planted


def open_policy(config: EngineConfig) -> Engine:
    """`tiny:careful`, `tiny:policy`, for judges `tiny:leaning` or `tiny:planted`: all that answer here."""
    name = config.engine.partition(":")[2]
    if name == "policy":
        from ..policies.engine import open_local
        from .model import tiny_checkpoint

        return open_local(config, tiny_checkpoint())
    if name == "planted":
        extra = f"+{content_id(config.extra)[:6]}" if config.extra else ""
        judge = settings_from(Planted, dict(config.extra))
        return Scripted(judge, f"tiny:planted{extra}", config.price)
    known = {one.__name__: one for one in (careful, sloppy, wordy, kin)} | BY_NAME
    if name not in known:
        raise SettingError(nearest("tiny policy or judge", name, (*known, "policy", "planted")))
    return Scripted(known[name], f"tiny:{name}", config.price)
