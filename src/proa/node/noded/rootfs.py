"""Make a container's view of files: the host's, read-only beneath a private upper layer, with its secrets hidden.

Theory of operation. The image `proa.local/python` is this machine. Where the kernel allows it, one overlay on `/`
(root); else an overlay, or a read-only bind, for each top-level folder (rootless: an overlay refuses a lower with
locked mounts in it, so not `/`). Then come the *places*, outermost first, so that the deeper one wins:
  scratch  a private writable folder: /tmp, /run, every home folder, all that is no part of a system (hidden.py)
  show     a read-only bind of what may change while we run: Python's own prefix, the project
  mask     nothing: host secrets, and Proa's own home
then /proc, /dev, /sys and the pod's mounts, then pivot_root. Every target is resolved inside the new root
(RESOLVE_IN_ROOT), so a symbolic link in a volume leads nowhere else. All of this happens in the container's own
mount namespace: nothing is left behind when it ends. Masks and devices follow containerd's default OCI spec.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat

from proa.node.noded import cover, linux
from proa.node.noded.hidden import find_hidden
from proa.node.noded.records import remove_tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any

DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
MASKED_PROC = (
    "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
    "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/proc/interrupts", "/sys/firmware",
    "/sys/devices/virtual/powercap",
)  # fmt: skip
READONLY_PROC = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
_NEVER_SHOWN = ("/proc", "/sys", "/dev", "/run", "/tmp", "/snap", "/boot")  # noqa: S108
_REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS, errno.EOVERFLOW)
_MAX_LINKS = 40


class HostImage:
    """What this machine shows to its containers, and how it is layered ("overlay", "folders" or "binds")."""

    __slots__ = ("_places", "cover", "covered", "layering", "submounts", "userxattr", "visible")

    def __init__(
        self, layering: str, *, userxattr: bool, visible: Sequence[str], masked: Sequence[str]
    ) -> None:
        self.cover = ""
        self.covered: list[str] = []
        self.submounts: list[str] = []
        self.layering = layering
        self.userxattr = userxattr
        self.visible = tuple(visible)
        found = find_hidden(reads_all=not userxattr)
        found |= {path: ("show", 0) for path in self.visible if path not in ("/", "/usr", "/usr/local")}
        found |= dict.fromkeys(masked, ("mask", 0))
        ordered = sorted(found.items(), key=lambda item: item[0].count("/"))
        self._places = [(path, kind, mode) for path, (kind, mode) in ordered]

    def make_cover(self, directory: str) -> None:
        """Make the layer that hides what no container may see, and find the host's mounts that belong to its files."""
        remove_tree(directory)
        places = self.places()
        hidden = [path for path, kind, _ in places if kind != "show"]
        self.submounts = [
            m for m in _disk_mounts() if not any(m == p or m.startswith(p + "/") for p in hidden)
        ]
        covered = cover.make(directory, places, userxattr=self.userxattr)
        bound = (*self.submounts, *self.visible)  # mounted over the cover, so what is below is seen again
        self.covered = [p for p in covered if not any(p == b or p.startswith(b + "/") for b in bound)]
        self.cover = directory

    def places_to_mount(self) -> list[tuple[str, str, int]]:
        """Return the places that the cover does not see to."""
        return [place for place in self.places() if place[0] not in self.covered]

    def places(self) -> list[tuple[str, str, int]]:
        """Return (path, "scratch" | "show" | "mask", mode), outermost first."""
        return self._places

    def find_place(self, path: str) -> tuple[str, int]:
        """Return the kind and mode of the place that is exactly this path, ("", 0) when it is none."""
        return next(((kind, mode) for place, kind, mode in self._places if place == path), ("", 0))


class View:
    """What one container sees beyond the image. `files` maps a path inside to a file outside (hosts, …).

    `layers` are the folders of an image's layers, the lowest first; without any the root is this machine's files.
    `volumes` are folders of the image that stay writable when all else of it is not.
    `users` is a user namespace whose ids the container's files are shown with, `first_id` the first of them outside.
    """

    __slots__ = (
        "cgroups",
        "files",
        "first_id",
        "layers",
        "masked",
        "mounts",
        "privileged",
        "proc",
        "proc_tree",
        "read_only",
        "shm",
        "users",
        "volumes",
    )

    def __init__(
        self,
        *,
        mounts: Sequence[dict[str, Any]],
        files: dict[str, str],
        shm: str,
        cgroups: Sequence[tuple[str, str]],
        privileged: bool,
        masked: bool,
        read_only: bool,
        users: int = -1,
        first_id: int = 0,
        proc: str = "",
        layers: Sequence[str] = (),
        volumes: Sequence[str] = (),
    ) -> None:
        self.layers = layers
        self.volumes = volumes
        self.mounts = sorted(mounts, key=lambda mount: mount["container_path"].rstrip("/").count("/"))
        self.files = files
        self.shm = shm
        self.cgroups = cgroups
        self.privileged = privileged
        self.masked = masked
        self.read_only = read_only
        self.users = users
        self.first_id = first_id
        self.proc = proc
        self.proc_tree = -1
        """A detached mount of /proc, where another container's is to be had."""


def enter(directory: str, image: HostImage, view: View) -> None:
    """Build the root file system in `directory` and make it `/`. Call it in a new mount namespace."""
    root = build(directory, image, view)
    os.fchdir(root)
    linux.pivot_root_here()
    os.close(root)


def build(
    directory: str, image: HostImage, view: View, before_mounts: Callable[[int], None] | None = None
) -> int:
    """Build the root file system in `directory`, from now on the working folder; return it as a descriptor.

    `before_mounts` is called with it while all in it is this container's alone: before the pod's mounts are there.
    """
    root, shared = _begin(directory, image, view)
    _mount_kernel_files(root, view)
    if view.masked:
        _mask_kernel_files()  # before a volume is there whose links could lead the masks elsewhere
    if before_mounts is not None:
        before_mounts(root.fd)
    for path, source in view.files.items():
        root.replace_link(path)
        root.bind(source, path, shown=True)
    for path in view.volumes if view.read_only else ():
        root.make_volume(path)
    for mount in view.mounts:
        root.bind_mount(mount, shared.get(mount["container_path"]))
    if view.read_only:
        root.make_read_only()
    return root.fd


def lay(directory: str, image: HostImage, view: View) -> tuple[int, dict[int, str]]:
    """Build the root file system in `directory`, for a runtime of others that mounts the rest and makes it `/`.

    Return it as a descriptor, and where each of the pod's mounts is to be taken from: below `directory`, so that no
    link can lead elsewhere. Call it in a new mount namespace.
    """
    root, shared = _begin(directory, image, view)
    for path in view.files:
        root.replace_link(path)
    for path in view.volumes if view.read_only else ():
        root.make_volume(path)
    staged = {}
    for place, mount in enumerate(view.mounts):
        if not mount.get("is_device"):
            staged[place] = f"{directory}/{root.stage(mount, shared.get(mount['container_path']))}"
    if view.read_only:
        root.make_read_only(with_root=False)
    return root.fd, staged


def _begin(directory: str, image: HostImage, view: View) -> tuple[_Root, dict[str, int]]:
    """Lay the image; return it, and the mounts that are to stay shared with the host, by their container's path."""
    shared = {
        mount["container_path"]: linux.clone_tree(mount["host_path"])
        for mount in view.mounts
        if mount.get("propagation") == "rshared"
    }
    linux.mount("", "/", "", linux.MS_REC | linux.MS_SLAVE)
    os.chdir(directory)
    root = _Root(image, view)
    for path, kind, mode in () if view.layers else image.places_to_mount():
        root.put_place(path, kind, mode)
    return root, shared


def prepare(directory: str) -> None:
    """Make the folders that `enter` expects in a container's directory."""
    for name in ("upper", "work", "root", "scratch"):
        os.makedirs(f"{directory}/{name}", exist_ok=True)
    for name in ("upper", "root"):
        os.chmod(f"{directory}/{name}", 0o755)  # noqa: S103


class _Root:
    """The root file system under construction. The working directory is the container's."""

    def __init__(self, image: HostImage, view: View) -> None:
        self._users, self._first_id = view.users, view.first_id
        self._made = 0
        self._empty = ""
        self._own: list[str] = [""]
        self._proc = 0
        self._userxattr = image.userxattr
        if view.layers:
            _overlay(self._lowers(view.layers), "root", "upper", "work", image.userxattr)
            os.chown("upper", self._first_id, self._first_id)
        elif image.layering == "overlay":
            lowers = [self._with_ids(low) for low in ([image.cover, "/"] if image.cover else ["/"])]
            os.chown("upper", self._first_id, self._first_id)
            _overlay(lowers, "root", "upper", "work", image.userxattr)
        else:
            tree = linux.clone_tree(self.new_scratch(0o755))
            target = os.open("root", os.O_PATH | os.O_CLOEXEC)
            linux.attach_tree(tree, target)
            os.close(tree)
            os.close(target)
        self.fd = os.open("root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        if view.layers:
            _refuse_links("root")
        elif image.layering != "overlay":
            self._lay_folders(image)
        else:
            for path in image.submounts:
                self.bind(path, path, read_only=True, shown=True)

    def _lowers(self, layers: Sequence[str]) -> list[str]:
        """Return layers, the topmost first, by names so short that 500 of them fit into a mount's options.

        Of a layer that an image has twice (an empty one, say) only the upper one counts: overlayfs takes none twice.
        """
        distinct = list(dict.fromkeys(reversed(layers)))
        if self._users >= 0:
            return [self._with_ids(layer) for layer in distinct]
        names = []
        for layer in distinct:
            self._made += 1
            os.symlink(layer, f"l{self._made}")
            names.append(f"l{self._made}")
        return names

    def _with_ids(self, lower: str) -> str:
        """Return a place where a layer is seen with the pod's ids."""
        if self._users < 0:
            return lower
        place = self.new_scratch(0o755)
        tree = linux.clone_tree(lower, recursive=False)
        linux.set_mount_attributes(tree, linux.MOUNT_ATTR_RDONLY, recursive=False, users=self._users)
        target = os.open(place, os.O_PATH | os.O_CLOEXEC)
        linux.attach_tree(tree, target)
        os.close(target)
        os.close(tree)
        return place

    def _lay_folders(self, image: HostImage) -> None:
        for entry in sorted(os.scandir("/"), key=lambda entry: entry.name):
            kind, mode = image.find_place(entry.path)
            if kind == "mask":
                continue
            if entry.path in image.covered and kind == "scratch":
                os.mkdir(f"root/{entry.name}")
                os.chmod(f"root/{entry.name}", mode)
            elif entry.is_symlink():
                os.symlink(os.readlink(entry.path), f"root/{entry.name}")
            elif entry.path in _NEVER_SHOWN or not os.access(entry.path, os.R_OK):
                if entry.is_dir():
                    os.mkdir(f"root/{entry.name}", 0o755)
            elif not entry.is_dir() or image.layering == "binds" or not self._lay_folder(entry.name, image):
                self.bind(entry.path, entry.path, read_only=True)

    def _lay_folder(self, name: str, image: HostImage) -> bool:
        upper, work = self.new_scratch(0o755), self.new_scratch(0o755)
        os.makedirs(f"root/{name}", exist_ok=True)
        above = f"{image.cover}/{name}"
        lowers = [above, f"/{name}"] if image.cover and os.path.isdir(above) else [f"/{name}"]
        try:
            _overlay(lowers, f"root/{name}", upper, work, image.userxattr)
        except OSError:  # a lower with mounts in it, or a file system that cannot be one: a bind shows it too
            return False
        self._own.append(f"/{name}")
        return True

    def protect_proc(self) -> None:
        """Mount nothing in /proc from now on, by whatever link: what is written there must reach the kernel."""
        self._proc = os.stat("root/proc").st_dev

    def put_place(self, path: str, kind: str, mode: int) -> None:
        """Cover `path` as its kind says; what is not there needs no cover."""
        if kind == "show":
            self.bind(path, path, read_only=True, shown=True)
            return
        if not os.path.lexists(path):
            return
        try:
            target = linux.open_in_root(self.fd, path)
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            return
        is_folder = stat.S_ISDIR(os.fstat(target).st_mode)
        if kind == "scratch":
            source = self.new_scratch(mode)
            self._own.append(path)
        else:
            self._empty = self._empty or self.new_scratch(0o555)
            source = self._empty if is_folder else "/dev/null"
        self._attach(source, target, read_only=kind == "mask", no_devices=is_folder)
        os.close(target)

    def bind_mount(self, mount: dict[str, Any], tree: int | None) -> None:
        """Attach one of the pod's mounts."""
        propagation = {"rslave": linux.MS_SLAVE, "rshared": 0}.get(
            mount.get("propagation", ""), linux.MS_PRIVATE
        )
        with self._source(mount) as source:
            self.bind(
                source,
                mount["container_path"],
                read_only=bool(mount.get("read_only") or mount.get("layers")),
                no_devices=not mount.get("is_device"),
                propagation=propagation,
                tree=tree,
                shown=not mount.get("is_device") and not mount.get("layers"),
            )

    @contextlib.contextmanager
    def _source(self, mount: dict[str, Any]) -> Iterator[str]:
        """Give what a mount shows: a path of the node, one that no link leads away from, or a part of an image."""
        folder = mount.get("within") or ""
        path = mount["host_path"]
        if mount.get("layers"):
            folder = self.new_scratch(0o755)
            lowers = [*self._lowers(mount["layers"]), self.new_scratch(0o755)]
            _overlay_read_only(lowers, folder, self._userxattr)
            path = f"{folder}/{path.lstrip('/')}"
        if not folder:
            yield path
            return
        held = _open_within(path, folder)
        try:
            yield f"/proc/self/fd/{held}"
        finally:
            os.close(held)

    def make_volume(self, path: str) -> None:
        """Keep one of the image's folders writable: as a mount of its own, which stays so when the root's does not.

        What is mounted already is no folder of the image: /proc once more, on itself, would be without its masks.
        """
        target = self._target(path, folder=True)
        if os.fstat(target).st_dev == os.fstat(self.fd).st_dev:
            tree = linux.clone_tree(f"/proc/self/fd/{target}", recursive=False)
            linux.attach_tree(tree, target)
            os.close(tree)
        os.close(target)

    def bind(
        self,
        source: str,
        path: str,
        *,
        read_only: bool = False,
        no_devices: bool = True,
        propagation: int = linux.MS_PRIVATE,
        tree: int | None = None,
        shown: bool = False,
    ) -> None:
        """Show `source` of the host at `path` inside; a missing target is made.

        Where `shown`, a pod with ids of its own sees the files' owners by those.
        """
        target = self._target(path, folder=os.path.isdir(source))
        if self._proc and os.fstat(target).st_dev == self._proc:
            os.close(target)
            raise PermissionError(errno.EACCES, "cannot be mounted because it is inside /proc", path)
        self._attach(
            source,
            target,
            read_only=read_only,
            no_devices=no_devices,
            propagation=propagation,
            tree=tree,
            shown=shown,
        )
        os.close(target)

    def _attach(
        self,
        source: str,
        target: int,
        *,
        read_only: bool,
        no_devices: bool = True,
        propagation: int = linux.MS_PRIVATE,
        tree: int | None = None,
        shown: bool = False,
    ) -> None:
        tree = linux.clone_tree(source) if tree is None else tree
        attributes = linux.MOUNT_ATTR_NODEV if no_devices else 0
        attributes |= linux.MOUNT_ATTR_RDONLY if read_only else 0
        if attributes or propagation:
            linux.set_mount_attributes(tree, attributes, propagation=propagation)
        if shown and self._users >= 0:
            linux.set_mount_attributes(tree, 0, users=self._users)
        linux.attach_tree(tree, target)
        os.close(tree)

    def _target(self, path: str, *, folder: bool, links: int = _MAX_LINKS) -> int:
        """Open `path` inside, making what is missing. The caller closes it."""
        try:
            return linux.open_in_root(self.fd, path)
        except FileNotFoundError:
            if links <= 0:
                raise
        above, name = os.path.split(os.path.normpath("/" + path.lstrip("/")))
        parent = self._target(above, folder=True, links=links - 1)
        try:
            target = self._link_target(parent, above, name)
            if target:
                return self._target(target, folder=folder, links=links - 1)
            try:
                _make(parent, name, folder=folder)
            except OSError as error:
                if error.errno not in _REFUSED:
                    raise
                self._mirror(parent, above)
                os.close(parent)
                parent = linux.open_in_root(self.fd, above)
                _make(parent, name, folder=folder)
            return linux.open_in_root(parent, name)
        finally:
            os.close(parent)

    def _link_target(self, parent: int, above: str, name: str) -> str:
        try:
            target = os.readlink(name, dir_fd=parent)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.EINVAL):
                return ""
            raise
        return target if target.startswith("/") else f"{above}/{target}"

    def _mirror(self, folder: int, path: str) -> None:
        """Cover a folder that we may not write with a private one that shows the same entries."""
        fresh = self.new_scratch(0o755)
        entries = []
        for name in os.listdir(f"/proc/self/fd/{folder}"):
            mode = os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode
            if stat.S_ISLNK(mode):
                os.symlink(os.readlink(name, dir_fd=folder), f"{fresh}/{name}")
                continue
            entries.append(name)
            if stat.S_ISDIR(mode):
                os.mkdir(f"{fresh}/{name}")
            else:
                os.close(os.open(f"{fresh}/{name}", os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o644))
        self._attach(fresh, folder, read_only=False)
        self._own.append(path)
        cover = linux.open_in_root(self.fd, path)
        for name in entries:
            target = linux.open_in_root(cover, name)
            self._attach(f"/proc/self/fd/{folder}/{name}", target, read_only=False, no_devices=False)
            os.close(target)
        os.close(cover)

    def replace_link(self, path: str) -> None:
        """Make a symbolic link (/etc/resolv.conf often is one) a file of the container's own, where we may."""
        above, name = os.path.split(os.path.normpath("/" + path.lstrip("/")))
        try:
            parent = linux.open_in_root(self.fd, above)
        except (FileNotFoundError, NotADirectoryError):
            return
        try:
            if stat.S_ISLNK(os.stat(name or ".", dir_fd=parent, follow_symlinks=False).st_mode):
                os.unlink(name, dir_fd=parent)
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno not in _REFUSED:
                raise
        finally:
            os.close(parent)

    def stage(self, mount: dict[str, Any], tree: int | None) -> str:
        """Attach one of the pod's mounts beside the root, and return where."""
        propagation = 0 if mount.get("propagation") in ("rslave", "rshared") else linux.MS_PRIVATE
        read_only = bool(mount.get("read_only") or mount.get("layers"))
        with self._source(mount) as source:
            place = self.new_scratch(0o755)
            if not os.path.isdir(source):
                place += "/file"
                os.close(os.open(place, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o644))
            target = os.open(place, os.O_PATH | os.O_CLOEXEC)
            self._attach(source, target, read_only=read_only, propagation=propagation, tree=tree)
            os.close(target)
        return place

    def make_read_only(self, *, with_root: bool = True) -> None:
        """Forbid writing to everything that is the image's and not a volume."""
        for path in self._own if with_root else filter(None, self._own):
            fd = linux.open_in_root(self.fd, path)
            linux.set_mount_attributes(fd, linux.MOUNT_ATTR_RDONLY, recursive=False)
            os.close(fd)

    def new_scratch(self, mode: int) -> str:
        """Return a new private folder outside of the root."""
        self._made += 1
        path = f"scratch/{self._made}"
        os.mkdir(path)
        os.chmod(path, mode)
        if self._first_id:
            os.chown(path, self._first_id, self._first_id)
        return path


def _mount_kernel_files(root: _Root, view: View) -> None:
    quiet = linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC
    for name in ("proc", "sys", "dev"):
        os.makedirs(f"root/{name}", exist_ok=True)
    if view.proc_tree >= 0:
        place = os.open("root/proc", os.O_PATH | os.O_CLOEXEC)
        linux.attach_tree(view.proc_tree, place)
        os.close(place)
        os.close(view.proc_tree)
    elif view.proc:
        _cover(view.proc, "root/proc", read_only=False, recursive=False)
    else:
        linux.mount("proc", "root/proc", "proc", quiet)
    root.protect_proc()
    try:
        linux.mount("sysfs", "root/sys", "sysfs", quiet | (0 if view.privileged else linux.MS_RDONLY))
    except PermissionError:  # the node's network namespace belongs to another user namespace
        root.bind("/sys", "/sys", read_only=True)
    # nodev everywhere but on the bound devices: root may make device files (CAP_MKNOD), but not open them.
    linux.mount("tmpfs", "root/dev", "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, "mode=755,size=65536k")
    names = host_devices() if view.privileged else DEVICES
    for name in names:
        root.bind(f"/dev/{name}", f"/dev/{name}", no_devices=False)
    os.mkdir("root/dev/pts")
    linux.mount(
        "devpts",
        "root/dev/pts",
        "devpts",
        linux.MS_NOSUID | linux.MS_NOEXEC,
        "newinstance,ptmxmode=0666,mode=0620",
    )
    links = {"ptmx": "pts/ptmx", "fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1",
             "stderr": "/proc/self/fd/2"}  # fmt: skip
    for name, target in links.items():
        os.symlink(target, f"root/dev/{name}")
    os.mkdir("root/dev/shm")
    root.bind(view.shm, "/dev/shm")  # noqa: S108
    _mount_cgroups(root, view)


def _mount_cgroups(root: _Root, view: View) -> None:
    if not view.cgroups or not os.path.isdir("root/sys/fs/cgroup"):
        return
    whole = [directory for directory, name in view.cgroups if not name]
    if whole:
        root.bind(whole[0], "/sys/fs/cgroup", read_only=not view.privileged)
        return
    linux.mount("tmpfs", "root/sys/fs/cgroup", "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, "mode=755,size=1m")
    for directory, name in view.cgroups:
        root.bind(directory, f"/sys/fs/cgroup/{name}", read_only=not view.privileged)


def _mask_kernel_files() -> None:
    for path in READONLY_PROC:
        if os.path.exists(f"root{path}"):
            _cover(f"root{path}", f"root{path}", read_only=True)
    for path in MASKED_PROC:
        if os.path.isdir(f"root{path}"):
            linux.mount("tmpfs", f"root{path}", "tmpfs", linux.MS_RDONLY, "size=0k")
        elif os.path.exists(f"root{path}"):
            _cover("/dev/null", f"root{path}", read_only=False)


def _cover(source: str, path: str, *, read_only: bool, recursive: bool = True) -> None:
    tree = linux.clone_tree(source, recursive=recursive)
    if read_only:
        linux.set_mount_attributes(tree, linux.MOUNT_ATTR_RDONLY)
    target = os.open(path, os.O_PATH | os.O_CLOEXEC)
    linux.attach_tree(tree, target)
    os.close(target)
    os.close(tree)


def _overlay(lowers: Sequence[str], target: str, upper: str, work: str, userxattr: bool) -> None:
    escaped = [low.replace("\\", "\\\\").replace(",", "\\,").replace(":", "\\:") for low in lowers]
    options = f"lowerdir={':'.join(escaped)},upperdir={upper},workdir={work},volatile"
    linux.mount("overlay", target, "overlay", linux.MS_NODEV, options + (",userxattr" if userxattr else ""))


def _overlay_read_only(lowers: Sequence[str], target: str, userxattr: bool) -> None:
    options = f"lowerdir={':'.join(lowers)}" + (",userxattr" if userxattr else "")
    linux.mount("overlay", target, "overlay", linux.MS_NODEV | linux.MS_RDONLY, options)


def _refuse_links(root: str) -> None:
    """Refuse an image whose /proc, /sys or /dev is a link: what is mounted there would be elsewhere."""
    for name in ("proc", "sys", "dev"):
        try:
            found = os.lstat(f"{root}/{name}")
        except FileNotFoundError:
            continue
        if not stat.S_ISDIR(found.st_mode):
            raise NotADirectoryError(errno.ENOTDIR, "the image has no folder there", f"/{name}")


def try_overlay(lowers: Sequence[str], directory: str, *, userxattr: bool) -> str:
    """Mount an overlay over `lowers` with its upper layer in `directory`; return why it failed, "" when it works."""
    place = f"{directory}/.probe"
    prepare(place)
    here = os.getcwd()
    os.chdir(place)
    try:
        _overlay(lowers, "root", "upper", "work", userxattr)
        linux.umount("root")
    except OSError as error:
        return f"overlay on {lowers[-1]}: {error.strerror}"
    finally:
        os.chdir(here)
        remove_tree(place)
    return ""


def _make(parent: int, name: str, *, folder: bool) -> None:
    try:
        if folder:
            os.mkdir(name, 0o755, dir_fd=parent)
        else:
            flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
            os.close(os.open(name, flags, 0o644, dir_fd=parent))
    except FileExistsError:
        return  # two mounts may want the same folder


def _open_within(path: str, folder: str) -> int:
    """Open a path whose symbolic links, which containers may have put there, cannot lead out of `folder`."""
    base = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return linux.open_in_root(base, os.path.relpath(path, folder))
    finally:
        os.close(base)


def host_devices() -> list[str]:
    """Return the names of the devices that a privileged container sees, below /dev."""
    own = {"pts", "shm", "mqueue", "ptmx", "console", "hugepages"}
    return sorted(e.name for e in os.scandir("/dev") if e.name not in own and not e.is_symlink())


def _disk_mounts() -> list[str]:
    """Return the host's other mounts that belong to its files: those of an overlay on `/` are not seen through it."""
    found: list[str] = []
    with open("/proc/self/mountinfo", "rb") as file:
        for line in file:
            fields = line.split(b" ")
            path = os.fsdecode(fields[4].replace(b"\\040", b" ").replace(b"\\054", b","))
            fstype = fields[fields.index(b"-") + 1]
            hidden = any(path == p or path.startswith(p + "/") for p in _NEVER_SHOWN)
            below = any(path.startswith(p + "/") for p in found)
            if (
                path != "/"
                and not hidden
                and not below
                and fstype not in _PSEUDO
                and os.access(path, os.R_OK)
            ):
                found.append(path)
    return found


_PSEUDO = frozenset(
    b"proc sysfs devtmpfs devpts tmpfs cgroup cgroup2 mqueue hugetlbfs debugfs tracefs securityfs pstore bpf "
    b"configfs fusectl binfmt_misc autofs rpc_pipefs nsfs efivarfs nfsd squashfs".split()
)
