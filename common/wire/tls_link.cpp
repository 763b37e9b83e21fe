#include "common/wire/tls_link.h"

#include "common/base/host_port.h"
#include "common/wire/batch_stream.h"
#include "common/wire/client_connection.h"
#include "common/wire/identity_message.h"
#include "common/wire/key_request.h"
#include "common/wire/tls.h"

namespace roamstead::wire {
namespace {

using Clock = ClientConnection::Clock;

// Hands out the run of bytes that a batch is on the wire, part by part.
class BatchRun {
 public:
  BatchRun(Bytes encoded, const ContentLayout& layout, profile::ContentSource& content)
      : encoded_(std::move(encoded)), layout_(layout), content_(content) {}

  std::uint64_t batch_bytes() const { return encoded_.size(); }
  std::uint64_t total_bytes() const { return encoded_.size() + layout_.total_bytes(); }
  std::uint64_t position() const { return position_; }
  void rewind() { position_ = 0, piece_ = 0; }

  Result<Bytes> next() {
    Bytes part(static_cast<std::size_t>(std::min<std::uint64_t>(kBatchPartBytes, total_bytes() - position_)));
    for (std::size_t filled = 0; filled < part.size();) {
      RS_TRY(auto count, fill(MutableByteView(part).subspan(filled)));
      filled += count;
      position_ += count;
    }
    return part;
  }

 private:
  // Some bytes at the present position, at least one.
  Result<std::size_t> fill(MutableByteView out) {
    if (position_ < encoded_.size()) {
      auto count = std::min<std::size_t>(out.size(), encoded_.size() - position_);
      std::memcpy(out.data(), encoded_.data() + position_, count);
      return count;
    }
    auto at = position_ - encoded_.size();
    while (at >= layout_.pieces()[piece_].position + layout_.pieces()[piece_].range.length) ++piece_;
    const auto& piece = layout_.pieces()[piece_];
    auto inside = at - piece.position;
    auto count = static_cast<std::size_t>(std::min<std::uint64_t>(out.size(), piece.range.length - inside));
    RS_CHECK(content_.read(piece.record, piece.stream, piece.range.offset + inside, out.first(count)));
    return count;
  }

  Bytes encoded_;
  const ContentLayout& layout_;
  profile::ContentSource& content_;
  std::uint64_t position_ = 0;
  std::size_t piece_ = 0;
};

}  // namespace

class TlsLink::Impl {
 public:
  Impl(const TlsLinkOptions& options, HostPort address, std::unique_ptr<asio::ssl::context> context)
      : options_(options),
        connection_(options, std::move(address.host), std::to_string(address.port), std::move(context)) {}

  // Sends a request, waits for its reply, again on a new connection when this one is lost.
  Result<Frame> exchange(FrameType type, const Bytes& payload, FrameType expected) {
    return exchange(type, payload, expected, options_.call_timeout);
  }
  Result<Frame> exchange(FrameType type, const Bytes& payload, FrameType expected,
                         std::chrono::milliseconds within) {
    const ClientConnection::Caller caller(connection_);
    auto deadline = Clock::now() + within;
    for (;;) {
      RS_TRY(auto call, connection_.begin(deadline));
      connection_.send(*call, encode_frame(type, call->id, payload));
      std::optional<Result<Frame>> answer;
      {
        std::unique_lock lock(call->mutex);
        call->changed.wait_until(lock, deadline, [&] { return call->reply || call->lost; });
        answer = outcome(*call, expected);
      }
      connection_.end(*call);
      if (answer) return std::move(*answer);
      if (Clock::now() >= deadline) {
        connection_.suspect(*call);
        return fail(ErrorCode::timeout, "no answer from coordinator " + options_.address);
      }
    }
  }

  Result<CommitReply> commit(const Guid& secret, const profile::Batch& batch, BatchRun& run) {
    BatchBegin begin{secret,
                     batch.incarnation,
                     batch.ordinal,
                     run.batch_bytes(),
                     run.total_bytes() - run.batch_bytes(),
                     batch.snapshot};
    auto payload = encode_message(begin);
    const ClientConnection::Caller caller(connection_);
    auto deadline = Clock::now() + options_.commit_timeout;
    for (;;) {
      RS_TRY(auto call, connection_.begin(std::min(deadline, Clock::now() + options_.call_timeout)));
      connection_.send(*call, encode_frame(FrameType::batch_begin, call->id, payload));
      run.rewind();
      auto answer = stream(*call, run, deadline);
      connection_.end(*call);
      if (!answer) return fail(std::move(answer).error());
      if (!*answer) continue;
      RS_TRY(auto reply, decode_message<CommitReply>(std::move(**answer), "commit reply"));
      // The queue drops everything up to the ordinal that is acknowledged.
      if (reply.ordinal != batch.ordinal)
        return fail(ErrorCode::protocol, "batch " + std::to_string(reply.ordinal) + " acknowledged where " +
                                             std::to_string(batch.ordinal) + " was sent");
      return reply;
    }
  }

  Result<DesktopIdentity> renew_certificate() {
    RS_TRY(auto key, make_key_request("renewal"));
    RS_TRY(auto frame,
           exchange(FrameType::renew_certificate,
                    encode_message(RenewCertificateRequest{std::move(key.request)}), FrameType::certificate));
    RS_TRY(auto reply, decode_message<CertificateReply>(std::move(frame), "certificate"));
    RS_CHECK(check_identity(key.key_pem, reply.certificate_pem, reply.ca_pem));
    return DesktopIdentity{std::move(key.key_pem), std::move(reply.certificate_pem), std::move(reply.ca_pem)};
  }

  Result<void> use_identity(const DesktopIdentity& identity) {
    RS_TRY(auto context, make_client_context({identity.certificate_pem, identity.key_pem, identity.ca_pem}));
    connection_.use_context(std::move(context));
    return {};
  }

  Result<void> connect() {
    const ClientConnection::Caller caller(connection_);
    RS_TRY(auto call, connection_.begin(Clock::now() + options_.call_timeout));
    connection_.end(*call);
    return {};
  }

  ClientConnection& connection() { return connection_; }

 private:
  // Under the call's lock: the reply, a failure, or nothing when there is none yet or the connection went
  // (try again).
  static std::optional<Result<Frame>> outcome(Call& call, FrameType expected) {
    if (call.reply) {
      if (call.reply->type == FrameType::failure) {
        auto failure = decode_message<Failure>(std::move(*call.reply), "failure");
        if (!failure) return Result<Frame>(fail(std::move(failure).error()));
        return Result<Frame>(fail(to_error(*failure)));
      }
      if (call.reply->type != expected)
        return Result<Frame>(fail(ErrorCode::protocol,
                                  "an answer of type " +
                                      std::to_string(static_cast<unsigned>(call.reply->type)) + " where " +
                                      std::to_string(static_cast<unsigned>(expected)) + " was expected"));
      return Result<Frame>(std::move(*call.reply));
    }
    if (call.lost && call.lost->code == ErrorCode::cancelled) return Result<Frame>(fail(*call.lost));
    return std::nullopt;
  }

  // Sends the parts as the server takes them, and waits for the reply. Empty when the connection was lost.
  Result<std::optional<Frame>> stream(Call& call, BatchRun& run, Clock::time_point& deadline) {
    for (;;) {
      {
        std::unique_lock lock(call.mutex);
        auto granted = call.credit_bytes;
        auto may_send = [&] {
          return run.position() < run.total_bytes() && run.position() < call.credit_bytes + kBatchWindowBytes;
        };
        while (!call.reply && !call.lost && !may_send()) {
          if (call.changed.wait_until(lock, deadline) != std::cv_status::timeout) {
            if (call.credit_bytes != granted) deadline = Clock::now() + options_.commit_timeout;
            granted = call.credit_bytes;
            continue;
          }
          if (call.reply || call.lost) break;
          lock.unlock();
          connection_.send(call, encode_frame(FrameType::batch_abandon, call.id, {}));
          connection_.suspect(call);
          return fail(ErrorCode::timeout, "coordinator " + options_.address + " takes no more of the batch");
        }
        if (auto answer = outcome(call, FrameType::commit_reply)) {
          RS_TRY(auto frame, std::move(*answer));
          return std::optional<Frame>(std::move(frame));
        }
        if (call.lost) return std::optional<Frame>();
      }
      auto part = run.next();
      if (!part) {
        connection_.send(call, encode_frame(FrameType::batch_abandon, call.id, {}));
        return fail(std::move(part).error());
      }
      connection_.send(call, encode_frame(FrameType::batch_part, call.id, *part, Compression::thorough));
    }
  }

  const TlsLinkOptions options_;
  ClientConnection connection_;
};

TlsLink::TlsLink(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
TlsLink::~TlsLink() = default;

Result<std::unique_ptr<TlsLink>> TlsLink::create(TlsLinkOptions options) {
  RS_TRY(auto address, parse_host_port(options.address));
  RS_TRY(auto context, make_client_context({options.certificate_pem, options.key_pem, options.ca_pem}));
  return std::unique_ptr<TlsLink>(
      new TlsLink(std::make_unique<Impl>(options, std::move(address), std::move(context))));
}

Result<void> TlsLink::connect() { return impl_->connect(); }

Result<OpenReply> TlsLink::open(const OpenRequest& request) {
  RS_TRY(auto frame, impl_->exchange(FrameType::open, encode_message(request), FrameType::open_reply));
  return decode_message<OpenReply>(std::move(frame), "open reply");
}

Result<DirectoryPart> TlsLink::list(const Guid& session_secret, const profile::ProfilePath& path,
                                    const std::string& after) {
  auto payload = encode_message(ListRequest{session_secret, path, after});
  RS_TRY(auto frame, impl_->exchange(FrameType::list, payload, FrameType::list_reply));
  return decode_message<DirectoryPart>(std::move(frame), "list reply");
}

Result<Bytes> TlsLink::read(const Guid& session_secret, const profile::ProfilePath& path,
                            const std::string& stream, std::uint64_t offset, std::size_t length) {
  auto asked = std::min(length, kMaxReadBytes);
  auto payload =
      encode_message(ReadRequest{session_secret, path, stream, offset, static_cast<std::uint32_t>(asked)});
  RS_TRY(auto frame, impl_->exchange(FrameType::read, payload, FrameType::read_reply));
  RS_TRY_CTX(auto bytes, "read reply", plain_payload(std::move(frame)));
  if (bytes.size() > asked)
    return fail(ErrorCode::protocol, "read reply: " + std::to_string(bytes.size()) + " bytes where " +
                                         std::to_string(asked) + " were asked for");
  return bytes;
}

Result<std::vector<Fetched>> TlsLink::fetch(const Guid& session_secret, const std::vector<FetchItem>& items) {
  auto payload = encode_message(FetchRequest{session_secret, items});
  RS_TRY(auto frame, impl_->exchange(FrameType::fetch, payload, FrameType::fetch_reply));
  RS_TRY(auto reply, decode_message<FetchReply>(std::move(frame), "fetch reply"));
  RS_CHECK(check_fetched(items, reply.items));
  return std::move(reply.items);
}

Result<profile::KeyStates> TlsLink::list_keys(const Guid& session_secret, const profile::ProfilePath& hive,
                                              const profile::KeyPath& key, profile::KeyScope scope,
                                              const std::string& cursor) {
  auto payload =
      encode_message(KeysRequest{session_secret, hive, key, static_cast<std::uint8_t>(scope), cursor});
  RS_TRY(auto frame, impl_->exchange(FrameType::keys, payload, FrameType::keys_reply));
  return decode_message<profile::KeyStates>(std::move(frame), "keys reply");
}

Result<Bytes> TlsLink::read_value(const Guid& session_secret, const profile::ProfilePath& hive,
                                  const profile::KeyPath& key, const std::string& value, std::uint64_t offset,
                                  std::size_t length) {
  if (length > kMaxReadBytes)
    return fail(ErrorCode::invalid_argument, "a read of " + std::to_string(length) + " bytes of a value");
  auto payload = encode_message(
      ValueRequest{session_secret, hive, key, value, offset, static_cast<std::uint32_t>(length)});
  RS_TRY(auto frame, impl_->exchange(FrameType::value, payload, FrameType::value_reply));
  RS_TRY_CTX(auto bytes, "value reply", plain_payload(std::move(frame)));
  if (bytes.size() != length)
    return fail(ErrorCode::protocol, "value reply: " + std::to_string(bytes.size()) + " bytes where " +
                                         std::to_string(length) + " were asked for");
  return bytes;
}

Result<CommitReply> TlsLink::commit(const Guid& session_secret, const profile::Batch& batch,
                                    profile::ContentSource& content) {
  RS_TRY(auto layout, ContentLayout::of(batch));
  RS_TRY(auto encoded, encode_batch(batch));
  BatchRun run(std::move(encoded), layout, content);
  return impl_->commit(session_secret, batch, run);
}

Result<void> TlsLink::renew(const Guid& session_secret) {
  RS_TRY(auto frame,
         impl_->exchange(FrameType::renew, encode_message(SessionRequest{session_secret}), FrameType::done));
  return {};
}

Result<void> TlsLink::tell_use(const Guid& session_secret, SessionUse use) {
  auto payload = encode_message(UseRequest{session_secret, static_cast<std::uint8_t>(use)});
  RS_TRY(auto frame, impl_->exchange(FrameType::session_use, payload, FrameType::done));
  return {};
}

Result<void> TlsLink::close(const Guid& session_secret) {
  RS_TRY(auto frame,
         impl_->exchange(FrameType::close, encode_message(SessionRequest{session_secret}), FrameType::done));
  return {};
}

Result<void> TlsLink::hand_over(const Guid& session_secret) {
  auto payload = encode_message(SessionRequest{session_secret});
  RS_TRY(auto frame, impl_->exchange(FrameType::hand_over, payload, FrameType::done));
  return {};
}

Result<void> TlsLink::learned(const Guid& session_secret, const std::vector<WorkingItem>& items) {
  auto payload = encode_message(LearnedRequest{session_secret, items});
  RS_TRY(auto frame, impl_->exchange(FrameType::learned, payload, FrameType::done));
  return {};
}

Result<SnapshotOffer> TlsLink::snapshot_offer(const Guid& session_secret) {
  auto payload = encode_message(SnapshotOfferRequest{session_secret});
  RS_TRY(auto frame, impl_->exchange(FrameType::snapshot_offer, payload, FrameType::snapshot_offer_reply));
  return decode_message<SnapshotOffer>(std::move(frame), "offer of snapshots");
}

Result<FrozenReply> TlsLink::quiet(const QuietRequest& request, std::chrono::milliseconds within) {
  RS_TRY(auto frame, impl_->exchange(FrameType::quiet, encode_message(request), FrameType::frozen, within));
  return decode_message<FrozenReply>(std::move(frame), "frozen");
}

Result<SnapshotState> TlsLink::held(const HeldRequest& request, std::chrono::milliseconds within) {
  RS_TRY(auto frame,
         impl_->exchange(FrameType::held, encode_message(request), FrameType::snapshot_state, within));
  return decode_snapshot_state(std::move(frame));
}

Result<void> TlsLink::report_first_boot(const FirstBootReport& report) {
  auto payload = encode_message(report);
  RS_TRY(auto frame, impl_->exchange(FrameType::first_boot, payload, FrameType::done));
  return {};
}

void TlsLink::set_push_listener(std::function<void(const Push&)> listener) {
  impl_->connection().set_push_listener(std::move(listener));
}

Result<DesktopIdentity> TlsLink::renew_certificate() { return impl_->renew_certificate(); }
Result<void> TlsLink::use_identity(const DesktopIdentity& identity) { return impl_->use_identity(identity); }

std::uint64_t TlsLink::bytes_sent() const { return impl_->connection().bytes_sent(); }
std::uint64_t TlsLink::bytes_received() const { return impl_->connection().bytes_received(); }

}  // namespace roamstead::wire
