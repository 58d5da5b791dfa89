/* outrigger-sidecar: the program's entry. */
#include <stdio.h>
#include <string.h>

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "--version") == 0) {
        puts("outrigger-sidecar " OUTRIGGER_VERSION);
        return 0;
    }
    fputs("usage: outrigger-sidecar --version\n", stderr);
    return 2;
}
