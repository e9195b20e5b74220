"""Apply the patch types of the Kubernetes API to decoded objects: pure functions that never change their inputs."""

from proa.objects.patch.json_patch import apply_json_patch
from proa.objects.patch.merge_patch import apply_merge_patch
from proa.objects.patch.strategic_merge import apply_strategic_merge

__all__ = ["apply_json_patch", "apply_merge_patch", "apply_strategic_merge"]
