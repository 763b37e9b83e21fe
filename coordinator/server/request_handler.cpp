#include "coordinator/server/request_handler.h"

#include "common/base/event.h"

namespace roamstead::server {
namespace {

using wire::Compression;
using wire::Frame;
using wire::FrameType;

// Records of up to so many encoded bytes may be decoded by every committing thread at once.
constexpr std::uint64_t kLargeBatchBytes = 4u << 20;

Bytes counted(const ServerMetrics::Fetch& fetch, const std::function<Bytes()>& answer) {
  metrics::Timer timer(fetch.took);
  auto reply = answer();
  fetch.bytes.add(reply.size());
  return reply;
}

template <class Request, class Answer>
Bytes handle(Frame frame, const char* what, FrameType reply_type, Compression compression,
             const Answer& answer) {
  auto id = frame.request;
  auto request = wire::decode_message<Request>(std::move(frame), what);
  if (!request) return failure_frame(id, request.error());
  auto reply = answer(*request);
  if (!reply) return failure_frame(id, reply.error());
  return wire::encode_frame(reply_type, id, *reply, compression);
}

// The payload of a reply message.
template <class Message>
Result<Bytes> payload(Result<Message> message) {
  if (!message) return fail(std::move(message).error());
  auto bytes = wire::encode_message(*message);
  if (bytes.size() > wire::kMaxPayloadBytes)
    return fail(ErrorCode::unsupported,
                "an entry of " + std::to_string(bytes.size()) + " bytes is too large for the protocol");
  return bytes;
}

Result<Bytes> nothing(Result<void> done) {
  if (!done) return fail(std::move(done).error());
  return Bytes();
}

}  // namespace

Bytes failure_frame(std::uint64_t request, const Error& error) {
  // What is said by an event (a quota, a limit) is not the storage's trouble but a rule.
  const bool storage = error.code == ErrorCode::io || error.code == ErrorCode::full;
  if (storage && event_in(error.to_string()).empty())
    return failure_frame(request,
                         Error(ErrorCode::unavailable, "the coordinator's storage: " + error.to_string()));
  return wire::encode_frame(FrameType::failure, request, wire::encode_message(wire::to_failure(error)));
}

Bytes RequestHandler::answer(const std::string& desktop, Frame request) {
  auto id = request.request;
  switch (request.type) {
    case FrameType::list:
      return counted(metrics_.list, [&] {
        return handle<wire::ListRequest>(
            std::move(request), "list", FrameType::list_reply, Compression::if_smaller,
            [&](const auto& message) { return payload(sessions_.list(desktop, message)); });
      });
    case FrameType::read:
      return counted(metrics_.read, [&] {
        return handle<wire::ReadRequest>(
            std::move(request), "read", FrameType::read_reply, Compression::if_smaller,
            [&](const auto& message) { return sessions_.read(desktop, message); });
      });
    case FrameType::fetch:
      return counted(metrics_.many, [&] {
        return handle<wire::FetchRequest>(
            std::move(request), "fetch", FrameType::fetch_reply, Compression::if_smaller,
            [&](const auto& message) { return payload(sessions_.fetch(desktop, message)); });
      });
    case FrameType::keys:
      return counted(metrics_.keys, [&] {
        return handle<wire::KeysRequest>(
            std::move(request), "keys", FrameType::keys_reply, Compression::if_smaller,
            [&](const auto& message) { return payload(sessions_.keys(desktop, message)); });
      });
    case FrameType::value:
      return counted(metrics_.value, [&] {
        return handle<wire::ValueRequest>(
            std::move(request), "value", FrameType::value_reply, Compression::if_smaller,
            [&](const auto& message) { return sessions_.read_value(desktop, message); });
      });
    case FrameType::renew:
      return handle<wire::SessionRequest>(
          std::move(request), "renew", FrameType::done, Compression::no,
          [&](const auto& message) { return nothing(sessions_.renew(desktop, message.session_secret)); });
    case FrameType::session_use:
      return handle<wire::UseRequest>(
          std::move(request), "use of a session", FrameType::done, Compression::no,
          [&](const auto& message) { return nothing(sessions_.note_use(desktop, message)); });
    case FrameType::close:
      return handle<wire::SessionRequest>(
          std::move(request), "close", FrameType::done, Compression::no,
          [&](const auto& message) { return nothing(sessions_.close(desktop, message.session_secret)); });
    case FrameType::learned:
      return handle<wire::LearnedRequest>(
          std::move(request), "learned", FrameType::done, Compression::no,
          [&](const auto& message) { return nothing(sessions_.learned(desktop, message)); });
    case FrameType::first_boot:
      return handle<wire::FirstBootReport>(
          std::move(request), "first-boot", FrameType::done, Compression::no,
          [&](const auto& message) -> Result<Bytes> {
            if (std::max(message.steps.size(), message.state.size()) > wire::kMostFirstBootBytes)
              return fail(ErrorCode::protocol, "first-boot: a file larger than 256 KiB");
            return nothing(first_boot_(desktop, message));
          });
    case FrameType::hand_over:
      return handle<wire::SessionRequest>(
          std::move(request), "hand-over", FrameType::done, Compression::no,
          [&](const auto& message) { return nothing(sessions_.hand_over(desktop, message.session_secret)); });
    case FrameType::snapshot_offer:
      return handle<wire::SnapshotOfferRequest>(std::move(request), "offer of snapshots",
                                                FrameType::snapshot_offer_reply, Compression::no,
                                                [&](const auto& message) -> Result<Bytes> {
                                                  RS_TRY(auto* port, snapshots());
                                                  return payload(port->offer(desktop, message));
                                                });
    case FrameType::quiet:
      return handle<wire::QuietRequest>(std::move(request), "quiet", FrameType::frozen, Compression::no,
                                        [&](const auto& message) -> Result<Bytes> {
                                          RS_TRY(auto* port, snapshots());
                                          return payload(port->quiet(desktop, message));
                                        });
    case FrameType::held:
      return handle<wire::HeldRequest>(std::move(request), "held", FrameType::snapshot_state, Compression::no,
                                       [&](const auto& message) -> Result<Bytes> {
                                         RS_TRY(auto* port, snapshots());
                                         return payload(port->held(desktop, message));
                                       });
    default:
      return failure_frame(
          id, Error(ErrorCode::protocol, "a frame of type " +
                                             std::to_string(static_cast<unsigned>(request.type)) +
                                             " from a desktop"));
  }
}

Result<SnapshotPort*> RequestHandler::snapshots() const {
  if (snapshots_ != nullptr) return snapshots_;
  return fail(ErrorCode::unsupported, "this coordinator makes no snapshots of desktops");
}

RequestHandler::OpeningStep RequestHandler::open(const std::string& desktop, Opening& opening) {
  auto step = try_open(desktop, opening);
  if (step.answer.empty()) {
    opening.waited = true;
    return step;
  }
  (opening.waited ? metrics_.open_hand_over : metrics_.open_alone)
      .observe(std::chrono::steady_clock::now() - opening.began);
  return step;
}

RequestHandler::OpeningStep RequestHandler::try_open(const std::string& desktop, Opening& opening) {
  auto id = opening.frame.request;
  auto request = wire::decode_message<wire::OpenRequest>(opening.frame, "open");
  if (!request) return {failure_frame(id, request.error()), {}};
  auto step = sessions_.try_open(desktop, *request, opening.attempt, opening.wake);
  if (!step) {
    metrics_.open_refused.add();
    return {failure_frame(id, step.error()), {}};
  }
  if (!step->reply) return {{}, step->ask_again};
  auto reply = payload<wire::OpenReply>(std::move(*step->reply));
  if (!reply) return {failure_frame(id, reply.error()), {}};
  metrics_.opened.add();
  // Never compressed: it holds a secret beside what others may choose.
  return {wire::encode_frame(FrameType::open_reply, id, *reply), {}};
}

RequestHandler::Admission RequestHandler::admit(const std::string& desktop, std::uint64_t request,
                                                const wire::BatchBegin& begin) {
  if (begin.batch_bytes > wire::kMaxEncodedBatchBytes || begin.content_bytes > budget_.limit()) {
    const Error too_large(
        ErrorCode::full,
        event_text(Event::batch_too_large,
                   "a batch of " + std::to_string(begin.batch_bytes) + " bytes of records and " +
                       std::to_string(begin.content_bytes) + " of content, where at most " +
                       std::to_string(wire::kMaxEncodedBatchBytes) + " and " +
                       std::to_string(budget_.limit()) + " are taken (limits.spool_per_desktop)"));
    log_message(facts_of(Event::batch_too_large).severity, "desktop '" + desktop + "': " + too_large.message);
    return {nullptr, failure_frame(request, too_large)};
  }
  auto committed = sessions_.find_committed(desktop, begin);
  if (!committed) return {nullptr, failure_frame(request, committed.error())};
  if (*committed)
    return {nullptr, wire::encode_frame(FrameType::commit_reply, request, wire::encode_message(**committed))};
  auto spool = Spool::create(spool_directory_, desktop, begin.batch_bytes + begin.content_bytes, budget_);
  if (!spool) return {nullptr, failure_frame(request, spool.error())};
  return {std::move(*spool), {}};
}

Result<std::uint64_t> RequestHandler::take(const std::string& desktop, const wire::BatchBegin& begin,
                                           Spool& spool, std::vector<Frame> parts) {
  std::uint64_t taken = 0;
  for (auto& part : parts) {
    RS_TRY_CTX(auto plain, "part of a batch", wire::plain_payload(std::move(part)));
    RS_CHECK(spool.append(plain));
    taken += plain.size();
  }
  // A long transfer is a sign of life. That the session may have ended meanwhile is for the commit to judge.
  (void)sessions_.renew(desktop, begin.session_secret);
  return taken;
}

bool RequestHandler::is_large(const wire::BatchBegin& begin) { return begin.batch_bytes > kLargeBatchBytes; }

Bytes RequestHandler::commit(const std::string& desktop, std::uint64_t request, const wire::BatchBegin& begin,
                             const Spool& spool) {
  metrics::Timer timer(metrics_.commit);
  metrics_.batch_bytes.add(spool.size());
  auto reply = commit_spooled(desktop, begin, spool);
  const bool over_quota = !reply && event_in(reply.error().to_string()) == id_of(Event::over_quota);
  (over_quota      ? metrics_.over_quota
   : !reply        ? metrics_.commit_failed
   : reply->forked ? metrics_.forked
                   : metrics_.committed)
      .add();
  if (reply) return wire::encode_frame(FrameType::commit_reply, request, wire::encode_message(*reply));
  if (!over_quota)  // that is logged once, with the session
    log_event(Event::batch_failed, "batch {} from desktop '{}' failed: {}", begin.ordinal, desktop,
              reply.error().to_string());
  return failure_frame(request, reply.error());
}

Result<wire::CommitReply> RequestHandler::commit_spooled(const std::string& desktop,
                                                         const wire::BatchBegin& begin, const Spool& spool) {
  Bytes encoded(static_cast<std::size_t>(begin.batch_bytes));
  RS_CHECK(spool.read(0, encoded));
  RS_TRY(auto batch, wire::decode_batch(encoded));
  encoded = Bytes();
  if (batch.incarnation != begin.incarnation || batch.ordinal != begin.ordinal)
    return fail(ErrorCode::protocol, "a batch that is not the one announced");
  RS_TRY(auto layout, wire::ContentLayout::of(batch));
  if (layout.total_bytes() != begin.content_bytes)
    return fail(ErrorCode::protocol, "a batch with content of " + std::to_string(layout.total_bytes()) +
                                         " bytes where " + std::to_string(begin.content_bytes) +
                                         " were announced");
  SpoolContent content(spool, begin.batch_bytes, std::move(layout));
  return sessions_.commit(desktop, begin.session_secret, batch, content, &begin);
}

}  // namespace roamstead::server
