#include "common/wire/message.h"

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
template Result<KeysRequest> decode_message(Frame, const char*);
template Result<profile::KeyStates> decode_message(Frame, const char*);
template Result<ValueRequest> decode_message(Frame, const char*);
template Result<SessionRequest> decode_message(Frame, const char*);
template Result<LearnedRequest> decode_message(Frame, const char*);
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
  return push;
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
Bytes encode_message(const KeysRequest& message) { return encode(message); }
Bytes encode_message(const profile::KeyStates& message) { return encode(message); }
Bytes encode_message(const profile::KeyState& message) { return encode(message); }
Bytes encode_message(const ValueRequest& message) { return encode(message); }
Bytes encode_message(const SessionRequest& message) { return encode(message); }
Bytes encode_message(const LearnedRequest& message) { return encode(message); }
Bytes encode_message(const BatchBegin& message) { return encode(message); }
Bytes encode_message(const Credit& message) { return encode(message); }
Bytes encode_message(const CommitReply& message) { return encode(message); }
Bytes encode_message(const Push& message) { return encode(message); }
Bytes encode_message(const EnrollRequest& message) { return encode(message); }
Bytes encode_message(const RenewCertificateRequest& message) { return encode(message); }
Bytes encode_message(const CertificateReply& message) { return encode(message); }

}  // namespace roamstead::wire
