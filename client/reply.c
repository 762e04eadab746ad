/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* From message to values; see reply.h. */
#include "client/reply.h"

#include <errno.h>
#include <string.h>

#define PAGE_MIN  UINT64_C(4096)
#define PAGE_MAX  (UINT64_C(1) << 30)
#define HUGE_MIN  (UINT64_C(1) << 21)
#define ERRNO_MAX 4095

/* Texts end up on terminals and in logs of the program: nothing but visible characters. Bytes above
 * 0x7f may be UTF-8 and stay. */
static void copy_text(char *out, size_t size, const char *text)
{
    size_t n = 0;

    for (; text[n] && n < size - 1; n++) {
        unsigned char c = (unsigned char)text[n];

        out[n] = c < 0x20 || c == 0x7f ? '?' : text[n];
    }
    out[n] = '\0';
}

static bool page_size_plausible(uint64_t size)
{
    return size >= PAGE_MIN && size <= PAGE_MAX && !(size & (size - 1));
}

static bool mode_plausible(Dmabufd__Proto__AddressMode mode)
{
    return mode >= DMABUFD__PROTO__ADDRESS_MODE__MODE_PA &&
           mode <= DMABUFD__PROTO__ADDRESS_MODE__MODE_FAKE;
}

static bool pin_plausible(Dmabufd__Proto__PinStrength pin)
{
    return pin >= DMABUFD__PROTO__PIN_STRENGTH__PIN_NONE &&
           pin <= DMABUFD__PROTO__PIN_STRENGTH__PIN_LONGTERM;
}

static bool access_plausible(Dmabufd__Proto__Access access)
{
    return access == DMABUFD__PROTO__ACCESS__ACCESS_READ_ONLY ||
           access == DMABUFD__PROTO__ACCESS__ACCESS_READ_WRITE;
}

static const char *parse_error(const Dmabufd__Proto__Error *message, struct fault *ret)
{
    if (message->code == DMABUFD__PROTO__ERROR_CODE__ERROR_OK || message->errno_value == 0 ||
        message->errno_value > ERRNO_MAX)
        return "a refusal without a reason";
    ret->code = (enum dmabufd_code)message->code;
    ret->error = (int)message->errno_value;
    copy_text(ret->text, sizeof(ret->text), message->text);
    return NULL;
}

static const char *parse_hello(const Dmabufd__Proto__HelloReply *message, struct reply_hello *ret)
{
    struct dmabufd_info *info = &ret->info;

    if (message->version != PROTO_VERSION)
        return "a version that was not offered";
    if (message->features & ~PROTO_FEATURE_EVENTS)
        return "a feature that was not asked for";
    if (!mode_plausible(message->mode) || !pin_plausible(message->pin))
        return "an unknown address mode or pin strength";
    if (message->n_page_sizes == 0 || message->n_page_sizes > HELLO_PAGE_SIZES_MAX)
        return "a wrong number of page sizes";
    if (message->max_in_flight == 0 || message->max_buffers == 0 || message->max_size == 0)
        return "a limit of 0";
    *info = (struct dmabufd_info){ .mode = (enum dmabufd_address_mode)message->mode,
                                   .pin = (enum dmabufd_pin)message->pin,
                                   .max_size = message->max_size,
                                   .max_buffers = message->max_buffers,
                                   .client = message->client };
    for (size_t i = 0; i < message->n_page_sizes; i++) {
        if (!page_size_plausible(message->page_sizes[i]) ||
            (i > 0 && message->page_sizes[i] <= message->page_sizes[i - 1]))
            return "page sizes that are not ascending powers of two";
        info->page_sizes[i] = message->page_sizes[i];
    }
    ret->max_in_flight = message->max_in_flight;
    copy_text(ret->backend, sizeof(ret->backend), message->backend);
    copy_text(ret->backend_reason, sizeof(ret->backend_reason), message->backend_reason);
    return NULL;
}

static const char *parse_buffer(const Dmabufd__Proto__BufferReply *message,
                                struct reply_buffer *ret)
{
    if (message->buffer == 0)
        return "a buffer without a number";
    if (!page_size_plausible(message->page_size))
        return "a buffer of an impossible page size";
    if (message->size == 0 || message->size > INT64_MAX || message->size % message->page_size)
        return "a buffer of an impossible size";
    if (!mode_plausible(message->mode) || !pin_plausible(message->pin))
        return "a buffer of unknown address mode or pin strength";
    if (!access_plausible(message->access))
        return "a buffer with an unknown right";
    if (message->span_count == 0 || message->span_count > message->size / PAGE_MIN ||
        message->spans.len > sizeof(ret->inline_spans))
        return "a buffer with an impossible number of spans";
    if (message->chunk_count == 1 || message->chunk_count > PROTO_CHUNKS_MAX ||
        message->chunk_count > message->size / message->page_size)
        return "a buffer with an impossible number of chunks";
    ret->id = message->buffer;
    ret->size = message->size;
    ret->page_size = message->page_size;
    ret->mode = (enum dmabufd_address_mode)message->mode;
    ret->pin = (enum dmabufd_pin)message->pin;
    ret->access = (enum dmabufd_access)message->access;
    ret->nodes = message->nodes;
    ret->chunk_count = message->chunk_count;
    ret->span_count = message->span_count;
    ret->inline_bytes = message->spans.len;
    if (message->spans.len > 0)
        memcpy(ret->inline_spans, message->spans.data, message->spans.len);
    return NULL;
}

static const char *parse_list(const Dmabufd__Proto__ListReply *message, struct reply_list *ret)
{
    if (message->n_buffers > PROTO_LIST_PAGE)
        return "a page of a list that is too long";
    if (message->n_buffers == 0 && message->next != 0)
        return "an empty page inside a list";
    for (size_t i = 0; i < message->n_buffers; i++) {
        const Dmabufd__Proto__BufferInfo *info = message->buffers[i];

        if (!access_plausible(info->access))
            return "a list of buffers with unknown rights";
        ret->entry[i] = (struct dmabufd_buffer_info){ .id = info->buffer,
                                                      .size = info->size,
                                                      .page_size = info->page_size,
                                                      .span_count = info->span_count,
                                                      .holds = info->holds,
                                                      .holders = info->holders,
                                                      .access = info->access };
    }
    ret->count = message->n_buffers;
    ret->next = message->next;
    return NULL;
}

static const char *parse_names(const Dmabufd__Proto__NamesReply *message, struct reply_names *ret)
{
    if (message->n_names > PROTO_NAMES_PAGE)
        return "a page of names that is too long";
    if (message->n_names == 0 && message->more)
        return "an empty page of names before the end";
    for (size_t i = 0; i < message->n_names; i++) {
        const Dmabufd__Proto__NameInfo *info = message->names[i];
        struct dmabufd_name_info *entry = &ret->entry[i];

        if (!*info->name || strlen(info->name) > PROTO_NAME_MAX)
            return "a name of an impossible length";
        *entry = (struct dmabufd_name_info){ .id = info->buffer,
                                             .size = info->size,
                                             .owner = info->owner,
                                             .group = info->group,
                                             .mode = info->mode,
                                             .holders = info->holders };
        copy_text(entry->name, sizeof(entry->name), info->name);
    }
    ret->count = message->n_names;
    ret->more = message->more;
    return NULL;
}

static const char *parse_status(const Dmabufd__Proto__StatusReply *message,
                                struct dmabufd_status *ret)
{
    *ret = (struct dmabufd_status){ .clients = message->clients,
                                    .buffers = message->buffers,
                                    .bytes = message->bytes,
                                    .huge_bytes = message->huge_bytes,
                                    .pinned = message->pinned,
                                    .jobs = message->jobs,
                                    .broker_starts = message->broker_starts,
                                    .uptime_ns = message->uptime_ns,
                                    .unreleasable_bytes = message->unreleasable_bytes };
    copy_text(ret->version, sizeof(ret->version), message->daemon_version);
    return NULL;
}

/* Bytes of pages of one size, that a program can add up. */
static bool pages_plausible(uint64_t bytes, uint64_t page_size)
{
    return bytes <= INT64_MAX && bytes % page_size == 0;
}

static const char *parse_pool(const Dmabufd__Proto__PoolReply *message, struct reply_pool *ret)
{
    struct dmabufd_pool_set *info = &ret->info;

    if (message->set_count == 0 && message->n_runs == 0 && message->n_files == 0 &&
        message->page_size == 0) {
        *ret = (struct reply_pool){ 0 };
        return NULL;
    }
    if (message->set_count > REPLY_POOL_SETS_MAX || message->set >= message->set_count)
        return "a pool with an impossible number of sets";
    if (!page_size_plausible(message->page_size) || message->page_size < HUGE_MIN)
        return "a pool of an impossible page size";
    if (!pages_plausible(message->target, message->page_size) ||
        !pages_plausible(message->ready, message->page_size) ||
        !pages_plausible(message->largest_run, message->page_size) ||
        message->largest_run > message->ready)
        return "a pool of an impossible size";
    if (message->n_runs > PROTO_POOL_RUNS || message->n_files > PROTO_POOL_CLASSES)
        return "a pool with more sizes than there are";
    ret->set_count = message->set_count;
    ret->set = message->set;
    *info = (struct dmabufd_pool_set){ .page_size = message->page_size,
                                       .node = message->node,
                                       .refilling = message->refilling != 0,
                                       .target = message->target,
                                       .ready = message->ready,
                                       .largest_run = message->largest_run,
                                       .grants = message->grants,
                                       .misses = message->misses,
                                       .refilled = message->refilled };
    /* Sizes that are not spoken of have none. */
    for (size_t i = 0; i < message->n_runs; i++)
        info->runs[i] = message->runs[i];
    for (size_t i = 0; i < message->n_files; i++)
        info->files[i] = message->files[i];
    return NULL;
}

static const char *parse_pool_map(const Dmabufd__Proto__PoolMapReply *message,
                                  struct dmabufd_pool_map *ret)
{
    size_t count = message->ready.len;
    uint64_t end;

    if (count > PROTO_POOL_CELLS || message->held.len != count)
        return "a picture of an impossible size";
    if (count > 0 && (message->cell % PAGE_MIN || message->cell == 0 ||
                      __builtin_mul_overflow(message->cell, count, &end)))
        return "a picture of impossible addresses";
    *ret = (struct dmabufd_pool_map){ .cell = message->cell, .count = (uint32_t)count };
    if (count > 0) {
        memcpy(ret->ready, message->ready.data, count);
        memcpy(ret->held, message->held.data, count);
    }
    return NULL;
}

int reply_parse(const proto_reply *message, struct reply *ret, const char **ret_why)
{
    const char *why = "a reply of unknown kind";

    ret->kind = message->body_case;
    switch (message->body_case) {
    case DMABUFD__PROTO__REPLY__BODY_ERROR:
        why = parse_error(message->error, &ret->refusal);
        break;
    case DMABUFD__PROTO__REPLY__BODY_HELLO:
        why = parse_hello(message->hello, &ret->hello);
        break;
    case DMABUFD__PROTO__REPLY__BODY_BUFFER:
        why = parse_buffer(message->buffer, &ret->buffer);
        break;
    case DMABUFD__PROTO__REPLY__BODY_NAMES:
        why = parse_names(message->names, &ret->names);
        break;
    case DMABUFD__PROTO__REPLY__BODY_SHARE:
    case DMABUFD__PROTO__REPLY__BODY_PUBLISH:
    case DMABUFD__PROTO__REPLY__BODY_UNPUBLISH:
    case DMABUFD__PROTO__REPLY__BODY_FREE:
    case DMABUFD__PROTO__REPLY__BODY_CHUNKS:
        why = NULL;
        break;
    case DMABUFD__PROTO__REPLY__BODY_LIST:
        why = parse_list(message->list, &ret->list);
        break;
    case DMABUFD__PROTO__REPLY__BODY_STATUS:
        why = parse_status(message->status, &ret->status);
        break;
    case DMABUFD__PROTO__REPLY__BODY_POOL:
        why = parse_pool(message->pool, &ret->pool);
        break;
    case DMABUFD__PROTO__REPLY__BODY_POOL_MAP:
        why = parse_pool_map(message->pool_map, &ret->pool_map);
        break;
    default:
        break;
    }
    *ret_why = why;
    return why ? -EPROTO : 0;
}
