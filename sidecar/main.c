/* outrigger-sidecar: the program's entry. */
#include "sidecar/bootstrap.h"
#include "sidecar/net/dial.h"
#include "sidecar/options.h"
#include "sidecar/server.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* OUTRIGGER_SO_MARK: the mark that keeps our own connections out of capture, where no uid can. */
static bool set_mark(void)
{
    uint64_t mark;
    const char *text = getenv("OUTRIGGER_SO_MARK");
    if (!text || !text[0])
        return true;
    if (!str_to_u64(str_of(text), &mark) || mark > UINT32_MAX) {
        fprintf(stderr, "outrigger-sidecar: OUTRIGGER_SO_MARK: a number up to 4294967295 is needed, got \"%s\"\n", text);
        return false;
    }
    dial_set_default_mark((uint32_t)mark);
    return true;
}

int main(int argc, char **argv)
{
    struct options options;
    struct bootstrap bootstrap;
    struct buf faults = {0};
    enum options_verdict verdict = options_parse(argc, argv, &options);
    if (verdict != OPTIONS_RUN)
        return verdict == OPTIONS_DONE ? 0 : 2;
    if (!set_mark())
        return 2;
    int rc = options.log_path ? log_open(options.log_path) : 0;
    if (rc < 0) {
        fprintf(stderr, "outrigger-sidecar: --log-path %s: %s\n", options.log_path, strerror(-rc));
        return 1;
    }
    bool ok = bootstrap_load(&options, &bootstrap, &faults);
    fwrite(buf_head(&faults), 1, buf_len(&faults), stderr);
    buf_fini(&faults);
    rc = 1;
    if (ok)
        rc = options.mode == MODE_VALIDATE ? server_validate(&options, &bootstrap) : server_run(&options, &bootstrap);
    bootstrap_fini(&bootstrap);
    return rc;
}
