#!/bin/bash
# Becomes systemd, as the first process of a host that is a copy of this one: what it writes is kept in memory.
# It runs in namespaces of its own (mount, pid, ipc, uts, cgroup) and gets: an empty folder, the repository, the
# site-packages that the host's Python is to have.
set -eu
work=$1 repository=$2 packages=$3

mount --make-rprivate /
mount -t tmpfs tmpfs "$work"
mkdir "$work/upper" "$work/work" "$work/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$work/upper,workdir=$work/work" "$work/root"
cd "$work/root"

mount -t proc proc proc
mount -t sysfs sysfs sys
mount -t tmpfs -o mode=755 tmpfs dev
for node in null zero full random urandom tty; do
    touch dev/$node
    mount --bind /dev/$node dev/$node
done
mkdir dev/shm dev/pts
mount -t tmpfs -o mode=1777 tmpfs dev/shm
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
for number in 0:stdin 1:stdout 2:stderr; do ln -s "/proc/self/fd/${number%:*}" "dev/${number#*:}"; done
mount -t tmpfs -o mode=755 tmpfs run
if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
    mount -t cgroup2 cgroup2 sys/fs/cgroup
else
    mount -t tmpfs -o mode=755 tmpfs sys/fs/cgroup
    mkdir sys/fs/cgroup/unified sys/fs/cgroup/systemd
    mount -t cgroup2 cgroup2 sys/fs/cgroup/unified
    mount -t cgroup -o none,name=systemd cgroup sys/fs/cgroup/systemd
fi

echo 0123456789abcdef0123456789abcdef >etc/machine-id
: >etc/fstab
rm -rf etc/systemd/system/*.wants
for name in systemd-udevd.service systemd-udev-trigger.service systemd-logind.service systemd-journald-audit.socket; do
    ln -sf /dev/null etc/systemd/system/$name
done
ln -sf /lib/systemd/system/multi-user.target etc/systemd/system/default.target

# The code, with a Python of the system whose libraries are those of the tests.
rm -rf opt/gaia
mkdir opt/gaia
for name in gaia deploy scripts requirements pyproject.toml; do cp -a "$repository/$name" opt/gaia/; done
chroot . /usr/bin/python3 -m venv --without-pip /opt/gaia/.venv
site=$(echo opt/gaia/.venv/lib/python3*/site-packages)
mount --bind ".$packages" "$site"
rm -f "$site"/__editable__*
echo /opt/gaia >"$site/gaia-here.pth"
# Not before: the libraries may lie in it.
mount -t tmpfs -o mode=1777 tmpfs tmp

pivot_root . mnt
cd /
# Otherwise the secrets of a service would not be seen in it.
mount --make-rshared /
exec env -i PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin container=tests /lib/systemd/systemd
