/* What the targets of the ADS client share: a quiet log, and a client that never connects. Header only. */
#ifndef OUTRIGGER_TESTS_FUZZ_XDS_SESSION_H
#define OUTRIGGER_TESTS_FUZZ_XDS_SESSION_H

#include "sidecar/base/die.h"
#include "sidecar/base/log.h"
#include "sidecar/xds/xds_priv.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerInitialize(int *argc, char ***argv);

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    log_set_level(LOG_OFF);
    return 0;
}

static inline bool no_address(void *ctx, struct addr *addr_r)
{
    (void)ctx;
    (void)addr_r;
    return false;
}

static inline void sink_nothing(void *ctx, enum xds_type type, struct str name)
{
    (void)ctx;
    (void)type;
    (void)name;
}

#endif
