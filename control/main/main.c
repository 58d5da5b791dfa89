/* outrigger-control: the program's entry. */
#include "control/main/plane.h"

#include <signal.h>

int main(int argc, char **argv)
{
    struct options options;
    enum options_verdict verdict = options_parse(argc, argv, &options);
    int code = verdict == OPTIONS_WRONG ? 2 : 0;
    signal(SIGPIPE, SIG_IGN);
    if (verdict == OPTIONS_RUN) {
        log_set_level(options.level);
        code = plane_run(&options);
    }
    options_fini(&options);
    return code;
}
