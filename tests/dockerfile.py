"""A parser for Dockerfiles, limited to the instructions that ours uses."""

import json
import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction: its name in capitals, and its arguments on one line."""

    name: str
    value: str

    @property
    def words(self) -> list[str]:
        """The arguments without flags."""
        return [word for word in self.value.split() if not word.startswith("--")]

    @property
    def exec_form(self) -> list[str]:
        """The command in the JSON array at the end. Raises ValueError if there is none."""
        words: list[str] = json.loads(self.value[self.value.index("[") :])
        return words


@dataclass(frozen=True, slots=True)
class Stage:
    """The instructions from one FROM to the next."""

    instructions: list[Instruction]

    def all(self, name: str) -> list[Instruction]:
        return [instruction for instruction in self.instructions if instruction.name == name]

    def one(self, name: str) -> Instruction:
        (instruction,) = self.all(name)
        return instruction

    @property
    def environment(self) -> dict[str, str]:
        """The variables set by ENV; variables in their values are not replaced."""
        return dict(word.split("=", 1) for env in self.all("ENV") for word in env.words)


def read_stages(path: Path = ROOT / "Dockerfile") -> list[Stage]:
    """Read a Dockerfile."""
    lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
    text = re.sub(r"\\\n\s*", "", "\n".join(lines))
    stages: list[Stage] = []
    for line in filter(None, text.splitlines()):
        instruction = Instruction(*line.split(maxsplit=1))
        if instruction.name == "FROM":
            stages.append(Stage([]))
        stages[-1].instructions.append(instruction)
    return stages
