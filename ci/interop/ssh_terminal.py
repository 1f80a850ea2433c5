"""A terminal in front of OpenSSH's ssh into the guest, typed into by pexpect; see ssh-guest.sh.

ssh_terminal.py WHAT GUEST-PORT WORK [PORT-OF-A-SERVER-HERE]
"""

import os
import re
import sys
import time

import pexpect

what, guest_port, work = sys.argv[1:4]
here = sys.argv[4] if len(sys.argv) > 4 else ""
PROMPT = rb"SYS:>"


def login(*options):
    """ssh to the guest, by key, with a terminal of 100 columns and 30 rows."""
    terminal = pexpect.spawn(
        "ssh",
        ["-F", "none", "-tt", "-i", f"{work}/user", "-o", "IdentitiesOnly=yes",
         "-o", f"UserKnownHostsFile={work}/known_hosts", "-o", "StrictHostKeyChecking=accept-new",
         *options, "-p", guest_port, "viper@127.0.0.1"],
        dimensions=(30, 100), timeout=60)
    return terminal


def say(terminal, line):
    terminal.send(line + b"\r")


def end(terminal, code):
    """The shell ends, and ssh with its code."""
    say(terminal, b"exit %d" % code)
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert terminal.exitstatus == code, (terminal.exitstatus, terminal.signalstatus)


def run(terminal, line, expected):
    """Types a line; what it prints begins at the start of a line."""
    say(terminal, line)
    terminal.expect(rb"\r\n" + expected + rb"\r\n")
    terminal.expect(PROMPT)


def shell():
    terminal = login()
    terminal.expect(PROMPT)
    run(terminal, b"Echo hello", b"hello")
    run(terminal, b"Echx\x7fo one", b"one")                     # backspace
    run(terminal, b"Echo ac\x1b[Db", b"abc")                    # the arrow to the left
    run(terminal, b"cho two\x01E\x05!", b"two!")                # to the start, and to the end
    run(terminal, b"\x1b[A", b"two!")                           # the line before
    terminal.send(b"Echo nev\x03")                              # a line that is given up
    terminal.expect(PROMPT)
    end(terminal, 5)


def interrupt():
    terminal = login()
    terminal.expect(PROMPT)
    say(terminal, b"ping -c 600 -i 500 127.0.0.1")
    terminal.expect(rb"from 127\.0\.0\.1")
    terminal.send(b"\x03")
    terminal.expect(PROMPT)
    say(terminal, b"Wait 600 SECS")
    time.sleep(1)
    terminal.send(b"\x03")
    terminal.expect(PROMPT)
    say(terminal, b"Status")
    terminal.expect(rb"sshd.*" + PROMPT)
    assert b"ping" not in terminal.after, terminal.after
    end(terminal, 0)


def window():
    """The size of the window here, as a program on this machine sees it through the guest."""
    terminal = login()
    terminal.expect(PROMPT)
    say(terminal, b"ssh -t -o StrictHostKeyChecking=accept-new -p %s root@10.0.2.2 "
        b"'stty size; read line; stty size; exit 3'" % here.encode())
    terminal.expect(rb"\r\n30 100\r\n")
    terminal.setwinsize(40, 120)
    time.sleep(1)
    say(terminal, b"")
    terminal.expect(rb"40 120\r\n")
    terminal.expect(PROMPT)
    terminal.setwinsize(50, 132)
    end(terminal, 3)


def question():
    """An unknown host is asked about, and remembered only if that is wanted."""
    terminal = login()
    terminal.expect(PROMPT)
    command = b"ssh -o UserKnownHostsFile=T:asked -p %s root@10.0.2.2 echo in" % here.encode()
    for answer, then in [(b"no", rb"is not known"), (b"yes", rb"\r\nin\r\n")]:
        say(terminal, command)
        terminal.expect(rb"SHA256:[A-Za-z0-9+/]{43}")
        terminal.expect(rb"yes/no\)\? ")
        say(terminal, answer)
        terminal.expect(then)
        terminal.expect(PROMPT)
    run(terminal, command, rb"in")
    end(terminal, 0)


def password():
    """The guest's ssh asks for a password, and asks again after a wrong one."""
    terminal = login()
    terminal.expect(PROMPT)
    say(terminal, b"ssh -o StrictHostKeyChecking=accept-new -p %s root@10.0.2.2 "
        b"'echo in-$((40 + 2))'" % here.encode())
    for word in [b"wrong", b"secret"]:
        terminal.expect(rb"root@10\.0\.2\.2's password: ")
        time.sleep(0.2)
        say(terminal, word)
    terminal.expect(rb"\r\nin-42\r\n")
    assert b"secret" not in terminal.before, "the password shows"
    terminal.expect(PROMPT)
    end(terminal, 0)


def questions():
    """The guest's ssh passes on what a server asks (keyboard-interactive)."""
    terminal = login()
    terminal.expect(PROMPT)
    say(terminal, b"ssh -i T:stranger -o StrictHostKeyChecking=accept-new -p %s viper@10.0.2.2 "
        b"'exit 7'; Echo code $RC" % here.encode())
    terminal.expect(rb"Colour\? ")
    time.sleep(0.2)
    say(terminal, b"green")
    terminal.expect(rb"Code: ")
    time.sleep(0.2)
    say(terminal, b"secret")
    terminal.expect(PROMPT)
    assert b"secret" not in terminal.before, "the answer shows"
    end(terminal, 0)


def passwd():
    terminal = login()
    terminal.expect(PROMPT)
    for again, then in [(b"other", rb"different"), (b"new word", PROMPT)]:
        say(terminal, b"passwd")
        terminal.expect(rb"New password of viper: ")
        time.sleep(0.2)
        say(terminal, b"new word")
        terminal.expect(rb"The same again: ")
        time.sleep(0.2)
        say(terminal, again)
        terminal.expect(then)
        if then != PROMPT:
            terminal.expect(PROMPT)
    end(terminal, 0)


os.environ["TERM"] = "xterm"
globals()[what]()
