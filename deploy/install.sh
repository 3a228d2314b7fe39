#!/usr/bin/env bash
# Installs one validator on a host with systemd, and starts nothing:
#
#   sudo git clone REPOSITORY /opt/gaia
#   sudo /opt/gaia/deploy/install.sh [--dry-run] [NAME]
#
# NAME is "main" if none is given; another name adds another validator. It may run again, for a new release too: what an
# operator wrote stays. Each command is printed before it runs; --dry-run only prints them.
set -euo pipefail
umask 022

code=/opt/gaia
name=main
dry_run=no

say() { printf '%s\n' "$*"; }
give_up() { say "$*" >&2; exit 1; }
run() {
    say "+ $*"
    if [ "$dry_run" = no ]; then "$@"; fi
}

for word in "$@"; do
    case $word in
        --dry-run) dry_run=yes ;;
        -*) give_up "usage: install.sh [--dry-run] [NAME]" ;;
        *) name=$word ;;
    esac
done
user=gaia-$name
home=/var/lib/gaia/$name
settings=/etc/gaia/$name.env
secrets=/etc/gaia/$name.secrets

# 1. What this needs.
[[ $name =~ ^[a-z][a-z0-9-]{0,25}$ ]] || give_up "NAME is up to 26 of a-z, 0-9 and -, and begins with a letter."
[ "$dry_run" = yes ] || [ "$(id -u)" = 0 ] || give_up "Run it as root, or with --dry-run."
[ "$dry_run" = yes ] || [ "$(cd "$(dirname "$0")/.." && pwd -P)" = $code ] || give_up "The code must lie in $code."
version=$(systemctl --version 2>/dev/null | awk 'NR == 1 { print $2 }')
[ "${version:-0}" -ge 252 ] || give_up "systemd 252 or newer is needed; here is ${version:-none}."

# 2. The code belongs to root, and its libraries come from the locks, each file checked by its hash.
run find $code ! -user root -exec chown -h root:root {} +
run find $code ! -type l -perm /022 -exec chmod go-w {} +
run python3 $code/scripts/bootstrap.py
# The validator cannot write here, so it could not keep what Python compiles. Some libraries carry files of other Pythons.
run $code/.venv/bin/python -m compileall -q -x '/tests?/' $code/gaia $code/.venv/lib || say "Not every file could be compiled."

# 3. A user for this validator alone, and the folders.
getent passwd "$user" >/dev/null ||
    run useradd --system --user-group --no-create-home --home-dir "$home" --shell /usr/sbin/nologin "$user"
run runuser -u "$user" -- $code/.venv/bin/gaia --version || give_up "$user may not read $code: clone it with umask 022."
run install -m 0644 $code/deploy/systemd/gaia.tmpfiles.conf /etc/tmpfiles.d/gaia.conf
run systemd-tmpfiles --create gaia.conf
run install -d -m 0700 "$secrets"

# 4. Its settings, with the next free port.
if [ ! -e "$settings" ]; then
    port=9090
    while grep -qsx "GAIA_METRICS_PORT=$port" /etc/gaia/*.env; do port=$((port + 1)); done
    say "+ write $settings, with port $port for the metrics"
    if [ "$dry_run" = no ]; then
        install -m 0640 -g "$user" /dev/null "$settings"
        {
            say "# Settings of gaia@$name; docs/reference/settings.md lists all. Secrets belong into $secrets."
            say "GAIA_DATA_DIR=$home/data"
            say "GAIA_METRICS_PORT=$port"
        } >"$settings"
    fi
fi

# 5. The unit, and a command that runs `gaia` with the settings and secrets of one validator.
run install -m 0644 "$code/deploy/systemd/gaia@.service" /etc/systemd/system/gaia@.service
run install -m 0755 $code/deploy/gaia-at /usr/local/bin/gaia-at
[ ! -d /run/systemd/system ] || run systemctl daemon-reload

say "
Next:
  1. Copy the hotkey's file to $secrets/hotkey, and write the key of the Climate Data Store to $secrets/cds_key.
  2. Write what differs from the defaults into $settings.
  3. systemd-tmpfiles --create gaia.conf
  4. gaia-at $name doctor
  5. systemctl enable --now gaia@$name"
