"""Skills: folders with instructions for models, which clients find by `skills/list` (SEP-2640).

`app.add_skills("skills/")` serves a folder of them; a `Skill` is one that is made in code.
"""

from enfilade.extensions.skills.extension import SkillsExtension
from enfilade.extensions.skills.options import GeneratedSkillOptions, SkillOptions
from enfilade.extensions.skills.skill import Skill

__all__ = ["GeneratedSkillOptions", "Skill", "SkillOptions", "SkillsExtension"]
