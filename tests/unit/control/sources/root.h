/* A directory of the test's own, made before it and removed after it. Header only. */
#ifndef OUTRIGGER_TESTS_CONTROL_SOURCES_ROOT_H
#define OUTRIGGER_TESTS_CONTROL_SOURCES_ROOT_H

#include <stdio.h>
#include <stdlib.h>

static char root[64];

static inline int make_root(void **state)
{
    (void)state;
    snprintf(root, sizeof(root), "/tmp/sources_test.XXXXXX");
    return mkdtemp(root) ? 0 : -1;
}

static inline int remove_root(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof(command), "rm -rf %s", root);
    return system(command);
}

#endif
