#!/usr/bin/python3
"""terminals.py - programs in terminals, copied, killed and restored into others.

usage: terminals.py TEST MOUNT WORK TOOLS

Plays the terminals: each is a pseudo-terminal whose master is here, with a
session of its own on the other side.  Prints what is wrong, and exits with 1;
with 77 if a program is not there.  terminals.sh tells what each test is about.
"""
import atexit
import fcntl
import os
import re
import select
import shutil
import signal
import struct
import subprocess
import sys
import termios
import threading
import time

TEST, MNT, WORK, TOOLS = sys.argv[1:5]
PATIENCE = 60
ENV = {'PATH': os.environ['PATH'], 'TERM': 'xterm', 'HOME': WORK,
       'LC_ALL': 'C', 'PS1': 'PROMPT\\$ ', 'SHELL': '/bin/sh'}
mine = set()        # pids that are to be killed at the end


def fail(why):
    for t in Terminal.all:
        print(f'{t.name}: {t.whole[-1000:]!r}')
    print(why)
    sys.exit(1)


def need(program):
    if shutil.which(program) is None:
        print('no ' + program)
        sys.exit(77)


def wait_for(what, condition, patience=PATIENCE):
    end = time.monotonic() + patience
    while not condition():
        if time.monotonic() > end:
            fail('it took too long: ' + what)
        time.sleep(0.02)


def stat(pid):
    """The fields of /proc/PID/stat, numbered as in proc(5); None: gone."""
    try:
        with open(f'/proc/{pid}/stat') as f:
            text = f.read()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return [0, pid, text[text.index('('):text.rindex(')') + 1]] + \
        text[text.rindex(')') + 2:].split()


def gone(pid):
    s = stat(pid)
    return s is None or s[3] in 'ZX'


def family(pid):
    """It and all below it."""
    all = [pid]
    try:
        for tid in os.listdir(f'/proc/{pid}/task'):
            with open(f'/proc/{pid}/task/{tid}/children') as f:
                for child in f.read().split():
                    all += family(int(child))
    except (FileNotFoundError, ProcessLookupError):
        pass
    return all


def named(name, pids):
    for pid in pids:
        s = stat(pid)
        if s is not None and s[2] == f'({name})':
            return pid
    return None


def contents(name):
    try:
        with open(f'{WORK}/{name}') as f:
            return f.read()
    except FileNotFoundError:
        return ''


def kill(pid, sig):
    try:
        os.kill(pid, sig)
    except ProcessLookupError:
        pass


def clean_up():
    for pid in mine:
        for p in family(pid):
            kill(p, signal.SIGKILL)
    for t in Terminal.all:
        t.end()


class Terminal:
    """A terminal with a session on it."""
    all = []

    def __init__(self, *command, rows=24, columns=80, session=True):
        self.text = ''      # since the last forget()
        self.whole = ''
        self.lock = threading.Lock()
        self.pid = None
        master, slave = os.openpty()
        self.master, self.name = master, os.ttyname(slave)
        self.resize(rows, columns)
        if session:
            self.pid = os.fork()
            if self.pid == 0:
                self.become(slave, command)
            mine.add(self.pid)
            os.close(slave)
        else:
            self.slave = slave
        Terminal.all.append(self)
        threading.Thread(target=self.listen, daemon=True).start()

    def become(self, slave, command):
        try:
            os.setsid()
            fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
            for fd in range(3):
                os.dup2(slave, fd)
            os.closerange(3, 1024)
            os.chdir(WORK)
            os.execvpe(command[0], command, ENV)
        finally:
            os._exit(127)

    def resize(self, rows, columns):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ,
                    struct.pack('4H', rows, columns, 0, 0))

    def listen(self):
        while True:
            # A read that waits would keep it open after end().
            try:
                while self.master >= 0 and not select.select(
                        [self.master], [], [], 0.05)[0]:
                    pass
            except (OSError, ValueError):
                return
            try:
                data = os.read(self.master, 65536)
            except OSError:
                time.sleep(0.05)
                if self.master < 0:
                    return
                continue
            if not data:
                return
            with self.lock:
                self.text += data.decode('latin1')
                self.whole += data.decode('latin1')

    def forget(self):
        with self.lock:
            self.text = ''

    def type(self, keys):
        os.write(self.master, keys.encode('latin1'))

    def sees(self, pattern):
        with self.lock:
            return re.search(pattern, self.text, re.DOTALL) is not None

    def expect(self, pattern, patience=PATIENCE):
        end = time.monotonic() + patience
        while not self.sees(pattern):
            if time.monotonic() > end:
                fail(f'{pattern!r} is not shown, but: {self.text[-1500:]!r}')
            time.sleep(0.02)

    def mode(self):
        return termios.tcgetattr(self.master)

    def end(self):
        """As when its window is closed."""
        master, self.master = self.master, -1
        if master >= 0:
            os.close(master)

    def kill(self):
        fell(self.pid)


def fell(pid):
    """Kill a tree, and wait until its numbers are free."""
    all = family(pid)
    for p in all:
        kill(p, signal.SIGSTOP)
    all = family(pid)
    for p in all:
        kill(p, signal.SIGKILL)
    for p in all:
        def free():
            try:
                os.waitpid(p, os.WNOHANG)
            except ChildProcessError:
                pass
            return not os.path.exists(f'/proc/{p}')
        wait_for(f'process {p} does not end', free)
    mine.discard(pid)


images = 0


def copy(pid, unsupported=''):
    """A checkpoint of which nothing is missing: its directory."""
    global images
    images += 1
    image = f'{WORK}/image{images}'
    for attempt in range(50):
        shutil.rmtree(image, ignore_errors=True)
        subprocess.run(['cp', '-r', f'{MNT}/{pid}', image], check=True)
        text = ''
        for d, _, files in os.walk(image):
            if 'unsupported' in files:
                with open(d + '/unsupported') as f:
                    text += f.read()
        # What is on its way through a pseudo-terminal has arrived soon.
        if not re.search('^(output|input) of ', text, re.MULTILINE):
            break
        time.sleep(0.1)
    if not re.fullmatch(unsupported, text, re.DOTALL):
        fail('unsupported: ' + text)
    return image


def shell(**size):
    """A terminal with a shell that waits for commands."""
    t = Terminal('bash', '--norc', '--noprofile', '-i', **size)
    t.expect(r'PROMPT[$#] $')
    return t


def restore_in(t, pid, image, *options):
    """By the shell of that terminal, as a user would."""
    t.forget()
    mine.add(pid)
    lines = ''.join(o + '\\n' for o in options)
    t.type(f"printf '{lines}{image}\\n' > {MNT}/.restore\r")
    wait_for(f'{image} is not restored: {t.text!r}',
             lambda: not gone(pid) or t.sees('error'))
    if gone(pid):
        fail(t.text)


def expect_prompt(t):
    """The shell is back, and so is the terminal's mode."""
    t.expect(r'PROMPT[$#] $')
    t.forget()
    t.type('stty -a | tr ";" "\\n" | grep -c " icanon"; echo rc=$?\r')
    t.expect(r'rc=0')
    t.forget()


def ask(pid, image, *options):
    """By a program that has no terminal at all."""
    mine.add(pid)
    p = subprocess.run(
        ['setsid', '-w', f'{TOOLS}/request', f'{MNT}/.restore', image,
         *options], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if p.returncode != 0:
        mine.discard(pid)
    return p.stdout.strip()


# ---- full-screen programs ----

def vim():
    need('vim')
    text = WORK + '/text'
    with open(text, 'w') as f:
        f.write('first line\n')
    a = Terminal('vim', '-u', 'NONE', '-i', 'NONE', '-N', text)
    a.expect('first line')
    a.type('oan unsaved line')
    a.expect('an unsaved line')
    image = copy(a.pid)
    pid = a.pid
    a.kill()
    a.end()
    # Into a terminal of another size, still in insert mode.
    b = shell(rows=30, columns=100)
    restore_in(b, pid, image)
    b.expect('first line.*an unsaved line')
    b.expect('30;1H|\x1b\\[30')     # the last line of this terminal
    b.forget()
    b.type(' goes on')
    b.expect('on')
    # And once more, by way of a second image.
    image = copy(pid)
    fell(pid)
    expect_prompt(b)
    c = shell()
    restore_in(c, pid, image)
    c.expect('first line.*an unsaved line goes on')
    c.forget()
    c.resize(20, 60)
    c.expect('20;1H|\x1b\\[20')
    c.forget()
    c.type('\x1b')
    c.expect('.')
    # It cannot be stopped, but sets the terminal's modes again.
    c.forget()
    c.type('\x1a')
    c.expect('\x1b\\[\\?1049h.*an unsaved line')
    c.type(':wq\r')
    wait_for('vim does not end', lambda: gone(pid))
    expect_prompt(c)
    if contents('text') != 'first line\nan unsaved line goes on\n':
        fail('what was saved is something else')


def less():
    need('less')
    with open(WORK + '/lines', 'w') as f:
        for i in range(1, 2001):
            f.write(f'this is line {i}\n')
    a = Terminal('less', WORK + '/lines')
    a.expect('this is line 5')
    a.type('1000g')
    a.expect('this is line 1005')
    pid, image = a.pid, copy(a.pid)
    a.kill()
    b = shell(rows=12)
    restore_in(b, pid, image)
    b.expect('line 1000.*line 1010')
    b.forget()
    b.type('G')
    b.expect('line 2000')
    b.type('q')
    wait_for('less does not end', lambda: gone(pid))
    expect_prompt(b)


def top():
    need('top')
    a = Terminal('top', '-d', '0.5')
    a.expect('COMMAND')
    pid, image = a.pid, copy(a.pid)
    a.kill()
    b = shell(rows=40)
    restore_in(b, pid, image)
    b.expect('Tasks:.*COMMAND')
    b.type('q')
    wait_for('top does not end', lambda: gone(pid))
    expect_prompt(b)


# ---- a shell and its jobs ----

def jobs(restore=None):
    restore = restore or restore_in
    a = shell()
    a.type('sleep 1000 &\r')
    a.expect(r'\[1\] \d+.*PROMPT')
    a.type(f'cat >{WORK}/typed\r')
    time.sleep(0.5)
    a.type('one\r')
    wait_for('cat', lambda: contents('typed') == 'one\n')
    a.type('\x1a')
    a.expect(r'Stopped.*PROMPT')
    a.forget()
    a.type("sh -c 'while read x; do echo got $x; done'\r")
    time.sleep(0.5)
    a.type('A\r')
    a.expect('got A')
    pid, image = a.pid, copy(a.pid)
    front = named('sh', family(pid))
    a.kill()
    a.end()
    b = shell()
    restore(b, pid, image)
    wait_for('foreground', lambda: int(stat(pid)[8]) == front)
    if int(stat(pid)[6]) != pid or int(stat(pid)[7]) == 0:
        fail('it leads no session with a terminal')
    b.type('B\r')
    b.expect('got B')
    second_life(b, pid)
    b.type('exit\r')
    b.expect('exit')
    if not gone(pid):   # "There are stopped jobs."
        time.sleep(0.5)
        b.type('exit\r')
    wait_for('the shell does not end', lambda: gone(pid))
    expect_prompt(b)


def second_life(b, pid):
    """Of the shell in b, in the middle of its jobs."""
    b.forget()
    b.type('\x04')
    b.expect('PROMPT[$#] $')
    b.forget()
    b.type('jobs\r')
    b.expect(r'\[1\]. +Running +sleep 1000')
    b.expect(r'\[2\]. +Stopped +cat')
    b.forget()
    b.type('fg %2\r')
    b.expect('cat >')
    time.sleep(0.5)
    b.type('two\r\x04')
    b.expect('PROMPT[$#] $')
    if contents('typed') != 'one\ntwo\n':
        fail('what was typed is something else')
    b.forget()
    b.type('sleep 500\r')
    # Before it is sleep(1) it may drop the signal, as the shell does.
    wait_for('sleep', lambda: named('sleep', [int(stat(pid)[8])]) is not None)
    b.type('\x03')
    b.expect(r'\^C.*PROMPT[$#] $')
    b.forget()
    b.type('kill %1\r')
    wait_for('the end of a job', lambda: b.type('\r') or time.sleep(0.3) or
             b.sees('Terminated +sleep 1000'))


# ---- instances of snapfs-run ----

RUN = TOOLS + '/../../snapfs/snapfs-run'


def run_in(t, pid, image):
    t.forget()
    mine.add(pid)
    t.type(f'{RUN} --same-pid --from {image}\r')
    wait_for(f'{image} is not restored: {t.text!r}',
             lambda: not gone(pid) or t.sees('snapfs-run:'))
    if gone(pid):
        fail(t.text)


def run_jobs():
    jobs(run_in)


def run_vim():
    """A job of the shell that it was started in, and of another."""
    need('vim')
    a = shell()
    a.type(f'vim -u NONE -i NONE -N {WORK}/text\r')
    wait_for('vim', lambda: named('vim', family(a.pid)) is not None)
    pid = named('vim', family(a.pid))
    a.expect('~')
    a.type('iof one shell')
    a.expect('of one shell')
    image = copy(pid)
    a.kill()
    b = shell(rows=30)
    run_in(b, pid, image)
    b.expect('of one shell')
    if int(stat(pid)[6]) != b.pid or int(stat(pid)[7]) != device(b):
        fail('it is not in the session of the shell')
    b.forget()
    b.type('\x1b')
    b.expect('.')
    b.forget()
    b.type('\x1a')
    b.expect(r'Stopped.*PROMPT[$#] $')
    b.forget()
    b.type('fg\r')
    b.expect('of one shell')
    b.type('a, and another\x1b')
    b.expect('another')
    b.type(':wq\r')
    wait_for('vim does not end', lambda: gone(pid))
    expect_prompt(b)
    if contents('text') != 'of one shell, and another\n':
        fail('what was saved is something else')


# ---- pseudo-terminals with both sides in the tree ----

def tmux():
    need('tmux')
    command = ['tmux', '-L', 'snapfs-test', '-f', '/dev/null']
    env = dict(ENV, TMUX_TMPDIR=WORK)

    def run(*what):
        return subprocess.run(command + list(what), env=env, check=True,
                              stdin=subprocess.DEVNULL, cwd=WORK,
                              capture_output=True, text=True).stdout

    run('new-session', '-d', '-x', '80', '-y', '24', 'sh')
    pid = int(run('display-message', '-p', '#{pid}'))
    mine.add(pid)
    with open(WORK + '/lines', 'w') as f:
        f.write(''.join(f'this is line {i}\n' for i in range(1, 200)))
    run('new-window', f'less {WORK}/lines')
    wait_for('less', lambda: 'line 1' in run('capture-pane', '-p', '-t', ':1'))
    run('send-keys', '-t', ':0', "x=17; sh -c 'while read a; do echo "
        "it is $a; done'", 'Enter')
    run('send-keys', '-t', ':0', 'before', 'Enter')
    run('send-keys', '-t', ':1', '100g')
    wait_for('windows', lambda: 'it is before' in run(
        'capture-pane', '-p', '-t', ':0') and 'line 105' in run(
        'capture-pane', '-p', '-t', ':1'))
    for generation in (1, 2):
        image = copy(pid)
        windows = {p: stat(p)[5:9] for p in family(pid)}
        fell(pid)
        answer = ask(pid, image)
        if not answer.startswith(f'OK {pid}'):
            fail('restored as: ' + answer)
        for p, was in windows.items():
            # Group, session, terminal, foreground.
            if stat(p)[5:9] != was:
                fail(f'{p}: {stat(p)[5:9]}, not {was}')
    if '\n' in answer:
        fail('not as it was: ' + answer)
    t = shell()
    t.type(f'TMUX_TMPDIR={WORK} {" ".join(command)} attach\r')
    t.expect('this is line 100')
    t.forget()
    t.type('G')
    t.expect('this is line 199')
    t.type('\x02' + '0')
    t.expect('it is before')
    t.type('after\r')
    t.expect('it is after')
    t.type('\x04')
    time.sleep(0.5)
    t.type('echo x is $x $((3 + 4))\r')
    t.expect('x is 17 7')
    t.type('\x02' + 'd')
    t.expect('detached')
    run('kill-server')
    wait_for('tmux does not end', lambda: gone(pid))
    expect_prompt(t)


# ---- other terminals, and none ----

# Says what it hears, and what reading and writing give.
LISTENER = r"""
import os, signal, sys
log = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
def say(text):
    os.write(log, (text + '\n').encode())
if sys.argv[2] == 'handles':
    signal.signal(signal.SIGHUP, lambda *a: say('hup'))
    signal.signal(signal.SIGWINCH, lambda *a: say('winch'))
print('ready')
while True:
    try:
        got = os.read(0, 100)
        say(f'read {got}')
    except OSError as e:
        say(f'read: {e.strerror}')
        got = b''
    if got == b'':
        break
try:
    os.write(1, b'x')
except OSError as e:
    say(f'write: {e.strerror}')
try:
    os.open('/dev/tty', os.O_RDWR)
except OSError as e:
    say(f'open: {e.strerror}')
signal.pause()
"""


def listener(*how):
    t = Terminal(sys.executable, '-c', LISTENER, WORK + '/heard', *how)
    t.expect('ready')
    time.sleep(0.2)
    return t


def hangup():
    for how, first in (('handles', 'hup\n'), ('default', '')):
        if os.path.exists(WORK + '/heard'):
            os.unlink(WORK + '/heard')
        a = listener(how)
        pid, image = a.pid, copy(a.pid)
        a.kill()
        a.end()
        answer = ask(pid, image)
        if 'no controlling terminal' not in answer:
            fail('restored as: ' + answer)
        want = first + "read b''\nwrite: Input/output error\n" \
            'open: No such device or address\n'
        wait_for('it does not say all: ' + contents('heard'),
                 lambda: contents('heard') == want)
        if gone(pid) or int(stat(pid)[7]) != 0:
            fail('it has ended, or has a terminal')
        fell(pid)


def device(t):
    """Of a terminal, as proc(5) has it."""
    n = os.stat(t.name).st_rdev
    return os.minor(n) & 0xff | os.major(n) << 8 | os.minor(n) >> 8 << 20


def named_tty():
    need('vim')
    a = Terminal('vim', '-u', 'NONE', '-i', 'NONE', '-N', '-n')
    a.expect('~')           # it reads, and nothing echoes
    a.type('isome text')
    a.expect('some text')
    pid, image = a.pid, copy(a.pid)
    a.kill()
    # Nobody's: it becomes the session's.
    b = Terminal(session=False)
    answer = ask(pid, image, 'tty=' + b.name)
    if answer != f'OK {pid}':
        fail('restored as: ' + answer)
    b.expect('some text')
    if int(stat(pid)[7]) != device(b) or int(stat(pid)[8]) != pid:
        fail('it is not its controlling terminal')
    b.forget()
    b.resize(20, 60)
    b.expect('some text')
    fell(pid)
    # Another session's: relayed.
    c = Terminal('sleep', '10000')
    mode = c.mode()
    answer = ask(pid, image, 'tty=' + c.name)
    if answer != f'OK {pid}':
        fail('restored as: ' + answer)
    c.expect('some text')
    if int(stat(pid)[7]) in (0, device(c)):
        fail('it has no terminal of its own')
    c.type('\x1b:q!\r')
    wait_for('vim does not end', lambda: gone(pid))
    wait_for('mode', lambda: c.mode() == mode)
    for tty, errno in (('/dev/null', 'ENOTTY'), ('/nowhere', 'ENOENT')):
        answer = ask(pid, image, 'tty=' + tty)
        if not answer.startswith(errno):
            fail(f'tty={tty}: {answer}')


HOLDER = r"""
import os, sys, time
for i in range(int(sys.argv[1])):
    m, s = os.openpty()
    print(os.ttyname(s), flush=True)
    input()
    os.close(s)
print('ready', flush=True)
input()
try:
    os.read(m, 1)
except OSError as e:
    print(e.strerror, flush=True)
time.sleep(1000)
"""


def master():
    p = subprocess.Popen([sys.executable, '-c', HOLDER, '1'], text=True,
                         stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    mine.add(p.pid)
    slave = os.open(p.stdout.readline().strip(), os.O_RDWR | os.O_NOCTTY)
    p.stdin.write('\n')
    p.stdin.flush()
    p.stdout.readline()
    image = copy(p.pid, '.*fd 3: the master side of a pseudo terminal.*')
    os.close(slave)
    alone = copy(p.pid, '.*fd 0: .*fd 1: .*')
    fell(p.pid)
    options = ('ignore=fd 0', 'ignore=fd 1')
    answer = ask(p.pid, image, *options)
    if not answer.startswith('EOPNOTSUPP'):
        fail('with its other side outside: ' + answer)
    answer = ask(p.pid, image, *options, 'ignore=fd 3')
    if not answer.startswith(f'OK {p.pid}'):
        fail('without it: ' + answer)
    fell(p.pid)
    # Nobody has the other side: that can be had again.
    for fd in (0, 1):
        os.unlink(f'{alone}/fd/{fd}')
        os.symlink(f'{WORK}/fd{fd}', f'{alone}/fd/{fd}')
    os.mkfifo(WORK + '/fd0')
    feed = os.open(WORK + '/fd0', os.O_RDWR)
    with open(WORK + '/fd1', 'w'):
        pass
    answer = ask(p.pid, alone, 'ignore=fd 0', 'ignore=fd 1')
    if not answer.startswith(f'OK {p.pid}'):
        fail('with its other side closed: ' + answer)
    os.write(feed, b'\n')
    wait_for('EIO', lambda: contents('fd1') == 'Input/output error\n')


# ---- who waits ----

def background():
    a = listener('handles')
    pid, image = a.pid, copy(a.pid)
    a.kill()
    b = shell()
    # In the background: what is typed is the shell's; and when `wait` returns
    # the process is there, not half made, and its writer does not wait for it.
    b.type(f'echo {image} > {MNT}/.restore &\r')
    wait_for('it is not restored', lambda: not gone(pid))
    mine.add(pid)
    b.type('\rwait $! && echo $((6 * 7))\r')
    b.expect('42.*PROMPT')
    fell(pid)
    # Stopped.
    restore_in(b, pid, image, 'stopped')
    expect_prompt(b)
    fell(pid)
    # Of a script that started it without standard input.
    with open(WORK + '/script', 'w') as f:
        f.write(f'echo {image} > {MNT}/.restore\necho rc=$?\n')
    os.unlink(image + '/fd/0')
    os.symlink('/dev/null', image + '/fd/0')
    mine.add(pid)
    b.type(f'sh {WORK}/script\r')
    b.expect('rc=0')
    fell(pid)


def interrupted():
    """The writer is sent a signal; the daemon is killed."""
    a = listener('handles')
    pid, image = a.pid, copy(a.pid)
    a.kill()
    for how in ('winch', 'term', 'window', 'daemon'):
        before = len(contents('heard'))

        def heard(what):
            return what in contents('heard')[before:]

        b = shell()
        b.type(f'sh -c "echo {image} > {MNT}/.restore"\r')
        wait_for('it is not restored', lambda: not gone(pid))
        mine.add(pid)
        b.type('yes\r')
        wait_for('reading', lambda: heard("read b'yes"))
        if how == 'winch':
            b.resize(10, 20)
            wait_for('winch', lambda: contents('heard')[before:].count('winch') > 1)
            time.sleep(0.5)
            b.type('yet\r')
            wait_for('reading', lambda: heard("read b'yet"))
            fell(pid)
            expect_prompt(b)
        elif how == 'term':
            # The shell that waits: it is no child of the listener's.
            os.kill(int(stat(b.pid)[8]), signal.SIGTERM)
            expect_prompt(b)
            wait_for('hangup', lambda: heard('hup'))
            fell(pid)
        elif how == 'window':
            b.end()
            wait_for('hangup', lambda: heard('hup'))
            fell(pid)
        else:
            # The last of all tests: there is no mount any more.
            with open(MNT + '/.status') as f:
                daemon = re.search(r'^daemon: (\d+)', f.read(), re.M)[1]
            os.kill(int(daemon), signal.SIGKILL)
            # Back at once: the mode may not be, which only the relay knows.
            b.expect(r'PROMPT[$#] $')
            wait_for('hangup', lambda: heard('hup'))
            fell(pid)


TESTS = {f.__name__: f for f in (vim, less, top, jobs, run_jobs, run_vim, tmux,
                                 hangup, named_tty, master, background,
                                 interrupted)}

atexit.register(clean_up)
TESTS[TEST]()
