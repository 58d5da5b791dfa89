/* A check in a process of its own: in namespaces that it makes, or where nothing of a library was used before. */
#ifndef OUTRIGGER_TESTS_UNIT_CHILD_H
#define OUTRIGGER_TESTS_UNIT_CHILD_H

#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum child_verdict { CHILD_RIGHT, CHILD_WRONG, CHILD_NO_NAMESPACE = 77 };

typedef enum child_verdict child_fn(void);

/* The test fails where the child is not right, and is skipped where it may make no namespace. */
static inline void check_in_child(child_fn *fn)
{
    int status;
    pid_t child = fork();
    if (child == 0)
        _exit(fn());
    assert_int_equal(waitpid(child, &status, 0), child);
    if (WIFEXITED(status) && WEXITSTATUS(status) == CHILD_NO_NAMESPACE) {
        print_message("no right to make a network namespace, or no iptables in it\n");
        skip();
    }
    assert_int_equal(status, 0);
}

/* In the child: a network namespace of its own, set up by this shell command. */
static inline bool child_has_network(const char *command)
{
    return (unshare(CLONE_NEWNET) == 0 || unshare(CLONE_NEWUSER | CLONE_NEWNET) == 0) && freopen("/dev/null", "w", stderr) &&
           system(command) == 0;
}

#endif
