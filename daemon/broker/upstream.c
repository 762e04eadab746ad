/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Questions to the keeper; see upstream.h. */
#include "daemon/broker/upstream.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/broker/reply.h"
#include "daemon/log.h"

static void settle(struct asked *asked)
{
    struct session *session = asked->session;

    slots_remove(&session->broker->asked, asked->tag);
    LIST_REMOVE(asked, link);
    session->in_flight--;
    session->in_flight_pairs -= asked->pairs;
    free(asked);
}

static int tell(struct broker *broker, const struct link_request *message)
{
    return channel_send(broker->link, message, sizeof(*message), NULL);
}

/* Its answer is a buffer that the client holds from then on. */
static bool brings_buffer(uint32_t op)
{
    return op == LINK_ALLOC || op == LINK_LOOKUP || op == LINK_REGISTER || op == LINK_OPEN;
}

/* What may come with the answer to a question, at most. */
static unsigned int pairs(uint32_t op)
{
    if (op == LINK_CHUNKS)
        return (PROTO_FDS_MAX + 1) / 2;
    return brings_buffer(op) || op == LINK_SHARE;
}

static size_t fds_of_buffer(const struct link_reply *answer)
{
    return (answer->op == LINK_ALLOC || answer->op == LINK_OPEN ? 1U : 0U) +
           (answer->u.buffer.span_count > PROTO_SPANS_INLINE_MAX ? 1U : 0U);
}

/* Whether those that the answer speaks of are there. How many chunks a buffer has, the keeper knows. */
static bool fds_complete(const struct link_reply *answer, size_t count)
{
    if (answer->error)
        return count == 0;
    if (answer->op == LINK_CHUNKS)
        return count >= 1 && count <= PROTO_FDS_MAX;
    if (answer->op == LINK_SHARE)
        return count == 1;
    return count == (brings_buffer(answer->op) ? fds_of_buffer(answer) : 0);
}

/*
 * We had no descriptor free for those of the answer: the client is told, and a buffer that it does not
 * learn of goes back. One whose chunks it asked for, it holds already.
 */
static void refuse_for_lost_fds(struct session *session, uint64_t request_id,
                                const struct link_reply *answer)
{
    struct link_request message = { .op = LINK_FREE,
                                    .client = session->id,
                                    .u.buffer = answer->u.buffer.id };
    struct fault fault;

    fault_set(&fault, DMABUFD_CODE_LIMIT, EMFILE,
              "the daemon is out of file descriptors: raise its LimitNOFILE=");
    session_refuse(session, request_id, &fault);
    /* Its answer has tag 0, which is nobody's. */
    if (brings_buffer(answer->op) && tell(session->broker, &message) < 0)
        channel_close_later(session->broker->link, -ENOMEM);
}

/* From the loop, so that it tells that the loop turns. */
static int answer_ping(struct broker *broker, uint64_t tag)
{
    struct link_request message = { .op = LINK_PING, .tag = tag };

    return tell(broker, &message);
}

static int on_message(void *data, const void *bytes, size_t size, struct wire_fds *fds)
{
    struct broker *broker = data;
    struct link_reply answer;
    struct session *session;
    struct asked *asked;
    uint64_t request_id;

    if (size != sizeof(answer))
        return -EBADMSG;
    memcpy(&answer, bytes, sizeof(answer));
    /* The keeper sends memory files of its own, and has them open for longer than we do, or empties them
     * before it closes them. */
    fds->ours = true;
    if (answer.op == LINK_PING)
        return answer_ping(broker, answer.tag);
    if (answer.op == LINK_ENDING) {
        sessions_tell_ending(broker);
        event_base_loopbreak(broker->base);
        return 0;
    }
    asked = slots_get(&broker->asked, answer.tag);
    if (!asked)
        return 0; /* the client left meanwhile */
    session = asked->session;
    request_id = asked->request_id;
    settle(asked);
    if (fds_complete(&answer, fds->count))
        reply_from_keeper(session, request_id, &answer, fds);
    else
        refuse_for_lost_fds(session, request_id, &answer);
    session_resume(session);
    return 0;
}

static void on_closed(void *data, int error)
{
    struct broker *broker = data;

    if (error < 0)
        log_err("the link to the keeper broke: %s", strerror(-error));
    broker->status = error < 0;
    event_base_loopbreak(broker->base);
}

static const struct channel_ops link_ops = { .message = on_message, .closed = on_closed };

int upstream_open(struct broker *broker, int fd)
{
    return channel_new(broker->base, fd, WIRE_NOBODY, sizeof(struct link_reply), false, &link_ops,
                       broker, &broker->link);
}

void upstream_close(struct broker *broker)
{
    broker->link = channel_free(broker->link);
}

int upstream_ready(struct broker *broker)
{
    struct link_request message = { .op = LINK_READY };

    return tell(broker, &message);
}

/* A client without any is not worth a message, unless it is that they are not known. */
static int tell_groups(const struct session *session)
{
    uint32_t at = 0;

    while (at < session->group_count || (at == 0 && session->groups_cut)) {
        struct link_request message = { .op = LINK_GROUPS, .client = session->id };
        struct link_groups *groups = &message.u.groups;
        uint32_t left = session->group_count - at;

        groups->count = left < LINK_GROUPS_CHUNK ? left : LINK_GROUPS_CHUNK;
        groups->cut = session->groups_cut;
        memcpy(groups->gid, session->groups + at, groups->count * sizeof(groups->gid[0]));
        at += groups->count;
        if (tell(session->broker, &message) < 0)
            return -ENOMEM;
        if (groups->count == 0)
            break;
    }
    return 0;
}

int upstream_greet(struct session *session)
{
    struct link_request message = {
        .op = LINK_CLIENT_NEW,
        .client = session->id,
        .u.peer = { .pid = (uint32_t)session->pid, .uid = session->uid, .gid = session->gid },
    };
    int r = tell(session->broker, &message);

    if (r < 0)
        return r;
    r = tell_groups(session);
    /* The keeper knows of a client by now that it will not be told the end of. */
    if (r < 0)
        channel_close_later(session->broker->link, r);
    return r;
}

void upstream_forget(struct session *session)
{
    struct link_request message = { .op = LINK_CLIENT_GONE, .client = session->id };
    struct asked *asked;

    while ((asked = LIST_FIRST(&session->asked)))
        settle(asked);
    /* A keeper that is not told would keep the client's memory: then rather begin anew. */
    if (session->greeted && tell(session->broker, &message) < 0)
        channel_close_later(session->broker->link, -ENOMEM);
}

bool upstream_is_asked(const struct session *session, uint64_t request_id)
{
    const struct asked *asked;

    LIST_FOREACH (asked, &session->asked, link) {
        if (asked->request_id == request_id)
            return true;
    }
    return false;
}

static int postpone(struct session *session, uint64_t request_id,
                    const struct link_request *question, struct fault *fault)
{
    session->postponed = malloc(sizeof(*session->postponed));
    if (!session->postponed)
        return fault_set(fault, DMABUFD_CODE_NO_MEMORY, ENOMEM, "the daemon is out of memory");
    *session->postponed = (struct postponed){ .request_id = request_id, .question = *question };
    return 0;
}

void upstream_ask_postponed(struct session *session)
{
    CLEANUP_FREE struct postponed *postponed = NULL;
    struct fault fault = { 0 };

    if (!session->postponed || pairs(session->postponed->question.op) > session_room(session))
        return;
    postponed = TAKE_PTR(session->postponed);
    if (upstream_ask(session, postponed->request_id, &postponed->question, NULL, &fault) < 0)
        session_refuse(session, postponed->request_id, &fault);
}

int upstream_ask(struct session *session, uint64_t request_id, struct link_request *question,
                 struct wire_fds *fds, struct fault *fault)
{
    struct asked *asked;

    if (pairs(question->op) > session_room(session))
        return postpone(session, request_id, question, fault);
    asked = calloc(1, sizeof(*asked));
    if (!asked || slots_add(&session->broker->asked, asked, &asked->tag) < 0) {
        free(asked);
        return fault_set(fault, DMABUFD_CODE_NO_MEMORY, ENOMEM, "the daemon is out of memory");
    }
    asked->session = session;
    asked->request_id = request_id;
    asked->pairs = pairs(question->op);
    LIST_INSERT_HEAD(&session->asked, asked, link);
    session->in_flight++;
    session->in_flight_pairs += asked->pairs;
    question->tag = asked->tag;
    question->client = session->id;
    if (channel_send(session->broker->link, question, sizeof(*question), fds) < 0) {
        settle(asked);
        return fault_set(fault, DMABUFD_CODE_NO_MEMORY, ENOMEM, "the daemon is out of memory");
    }
    return 0;
}
