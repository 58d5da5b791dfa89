/* outrigger: the program's entry. */
#include "control/inject/inject.h"

#include <stdio.h>
#include <string.h>

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "--version") == 0) {
        puts("outrigger " OUTRIGGER_VERSION);
        return 0;
    }
    if (argc >= 2 && (strcmp(argv[1], "inject") == 0 || strcmp(argv[1], "uninject") == 0))
        return inject_main(argc - 1, argv + 1);
    fputs("usage: outrigger --version | inject ... | uninject ...\n", stderr);
    return 2;
}
