#include "common/wire/message.h"

#include <algorithm>

#include "common/base/archive.h"
#include "common/wire/identity_message.h"

namespace roamstead::wire {
namespace {

constexpr ErrorCode kAllCodes[] = {ErrorCode::invalid_argument,
                                   ErrorCode::not_found,
                                   ErrorCode::exists,
                                   ErrorCode::corrupt,
                                   ErrorCode::unsupported,
                                   ErrorCode::io,
                                   ErrorCode::full,
                                   ErrorCode::denied,
                                   ErrorCode::busy,
                                   ErrorCode::stale,
                                   ErrorCode::conflict,
                                   ErrorCode::cancelled,
                                   ErrorCode::timeout,
                                   ErrorCode::unavailable,
                                   ErrorCode::protocol,
                                   ErrorCode::internal};
constexpr std::size_t kMaxFailureText = 4096;

}  // namespace

Failure to_failure(const Error& error) {
  auto text = error.to_string();
  if (text.size() > kMaxFailureText) text.resize(kMaxFailureText);
  return {std::string(to_string(error.code)), std::move(text)};
}

Error to_error(const Failure& failure) {
  for (auto code : kAllCodes)
    if (failure.code == to_string(code)) return Error(code, failure.message);
  return Error(ErrorCode::internal, failure.message);
}

template <class T>
Result<T> decode_message(Frame frame, const char* what) {
  RS_TRY_CTX(auto payload, what, plain_payload(std::move(frame)));
  auto message = decode<T>(payload);
  if (!message) return fail(ErrorCode::protocol, std::string(what) + ": " + message.error().to_string());
  return message;
}

template Result<Hello> decode_message(Frame, const char*);
template Result<HelloReply> decode_message(Frame, const char*);
template Result<Failure> decode_message(Frame, const char*);
template Result<OpenRequest> decode_message(Frame, const char*);
template Result<OpenReply> decode_message(Frame, const char*);
template Result<ListRequest> decode_message(Frame, const char*);
template Result<DirectoryPart> decode_message(Frame, const char*);
template Result<ReadRequest> decode_message(Frame, const char*);
template Result<FetchRequest> decode_message(Frame, const char*);
template Result<FetchReply> decode_message(Frame, const char*);
template Result<KeysRequest> decode_message(Frame, const char*);
template Result<profile::KeyStates> decode_message(Frame, const char*);
template Result<ValueRequest> decode_message(Frame, const char*);
template Result<SessionRequest> decode_message(Frame, const char*);
template Result<UseRequest> decode_message(Frame, const char*);
template Result<LearnedRequest> decode_message(Frame, const char*);
template Result<FirstBootReport> decode_message(Frame, const char*);
template Result<SnapshotOfferRequest> decode_message(Frame, const char*);
template Result<SnapshotOffer> decode_message(Frame, const char*);
template Result<QuietRequest> decode_message(Frame, const char*);
template Result<FrozenReply> decode_message(Frame, const char*);
template Result<HeldRequest> decode_message(Frame, const char*);
template Result<BatchBegin> decode_message(Frame, const char*);
template Result<Credit> decode_message(Frame, const char*);
template Result<CommitReply> decode_message(Frame, const char*);
template Result<Push> decode_message(Frame, const char*);

Result<Push> decode_push(Frame frame) {
  RS_TRY(auto push, decode_message<Push>(std::move(frame), "push"));
  if (push.kind > kLastPushKind)
    return fail(ErrorCode::protocol,
                "push: unknown kind " + std::to_string(static_cast<unsigned>(push.kind)));
  if (push.profile.size() > kMaxPushText || push.text.size() > kMaxPushText)
    return fail(ErrorCode::protocol, "push: a text of more than " + std::to_string(kMaxPushText) + " bytes");
  RS_CHECK_CTX("push", settings::check_sent_size(push.settings));
  return push;
}

Result<HelloReply> decode_hello_reply(Frame frame) {
  RS_TRY(auto reply, decode_message<HelloReply>(std::move(frame), "greeting"));
  if (reply.settings) RS_CHECK_CTX("greeting", settings::check_sent_size(*reply.settings));
  return reply;
}

Result<SnapshotState> decode_snapshot_state(Frame frame) {
  RS_TRY(auto state, decode_message<SnapshotState>(std::move(frame), "state of a snapshot"));
  if (state.kind > kLastSnapshotStateKind)
    return fail(ErrorCode::protocol,
                "state of a snapshot: unknown kind " + std::to_string(static_cast<unsigned>(state.kind)));
  return state;
}

Result<void> check_fetched(const std::vector<FetchItem>& asked, const std::vector<Fetched>& answered) {
  auto wrong = [](const FetchItem& item, const std::string& what) {
    return fail(ErrorCode::protocol, "fetch reply: '" + item.path.text() + "': " + what);
  };
  if (answered.size() > asked.size() || (answered.empty() && !asked.empty()))
    return fail(ErrorCode::protocol, "fetch reply: " + std::to_string(answered.size()) + " items where " +
                                         std::to_string(asked.size()) + " were asked for");
  for (std::size_t i = 0; i < answered.size(); ++i) {
    const auto& item = answered[i];
    if (item.kind > Fetched::Kind::file) return wrong(asked[i], "an unknown kind");
    if (item.kind == Fetched::Kind::absent) continue;
    if ((item.kind == Fetched::Kind::directory) != asked[i].directory) return wrong(asked[i], "another kind");
    if (item.kind == Fetched::Kind::directory && item.part.more && item.part.entries.empty())
      return wrong(asked[i], "an empty part that is not the last");
    if (item.kind == Fetched::Kind::file &&
        item.content.size() != std::min<std::uint64_t>(item.size_bytes, kFetchFileBytes))
      return wrong(asked[i], std::to_string(item.content.size()) + " bytes of a file of " +
                                 std::to_string(item.size_bytes));
  }
  return {};
}

template Result<EnrollRequest> decode_message(Frame, const char*);
template Result<RenewCertificateRequest> decode_message(Frame, const char*);
template Result<CertificateReply> decode_message(Frame, const char*);

Bytes encode_message(const Hello& message) { return encode(message); }
Bytes encode_message(const HelloReply& message) { return encode(message); }
Bytes encode_message(const Failure& message) { return encode(message); }
Bytes encode_message(const OpenRequest& message) { return encode(message); }
Bytes encode_message(const OpenReply& message) { return encode(message); }
Bytes encode_message(const ListRequest& message) { return encode(message); }
Bytes encode_message(const DirectoryPart& message) { return encode(message); }
Bytes encode_message(const profile::NamedEntry& message) { return encode(message); }
Bytes encode_message(const ReadRequest& message) { return encode(message); }
Bytes encode_message(const FetchRequest& message) { return encode(message); }
Bytes encode_message(const FetchReply& message) { return encode(message); }
Bytes encode_message(const Fetched& message) { return encode(message); }
Bytes encode_message(const KeysRequest& message) { return encode(message); }
Bytes encode_message(const profile::KeyStates& message) { return encode(message); }
Bytes encode_message(const profile::KeyState& message) { return encode(message); }
Bytes encode_message(const ValueRequest& message) { return encode(message); }
Bytes encode_message(const SessionRequest& message) { return encode(message); }
Bytes encode_message(const UseRequest& message) { return encode(message); }
Bytes encode_message(const LearnedRequest& message) { return encode(message); }
Bytes encode_message(const FirstBootReport& message) { return encode(message); }
Bytes encode_message(const SnapshotOfferRequest& message) { return encode(message); }
Bytes encode_message(const SnapshotOffer& message) { return encode(message); }
Bytes encode_message(const QuietRequest& message) { return encode(message); }
Bytes encode_message(const FrozenReply& message) { return encode(message); }
Bytes encode_message(const HeldRequest& message) { return encode(message); }
Bytes encode_message(const SnapshotState& message) { return encode(message); }
Bytes encode_message(const BatchBegin& message) { return encode(message); }
Bytes encode_message(const Credit& message) { return encode(message); }
Bytes encode_message(const CommitReply& message) { return encode(message); }
Bytes encode_message(const Push& message) { return encode(message); }
Bytes encode_message(const EnrollRequest& message) { return encode(message); }
Bytes encode_message(const RenewCertificateRequest& message) { return encode(message); }
Bytes encode_message(const CertificateReply& message) { return encode(message); }

}  // namespace roamstead::wire
