#include "coordinator/server/enroller.h"

#include <array>

#include "common/base/event.h"
#include "common/base/file_time.h"
#include "common/base/guid.h"
#include "common/base/sha256.h"
#include "coordinator/audit/audit_log.h"
#include "coordinator/server/request_handler.h"

namespace roamstead::server {
namespace {

constexpr std::size_t kTokenBytes = 24;
constexpr std::size_t kMaxTokenText = 128;

void record(audit::AuditLog* audit, audit::Record record) {
  if (audit != nullptr) audit->append(std::move(record));
}

template <class Request, class Answer>
Bytes answer_frame(wire::Frame frame, const char* what, const Answer& answer) {
  auto id = frame.request;
  auto request = wire::decode_message<Request>(std::move(frame), what);
  if (!request) return failure_frame(id, request.error());
  auto reply = answer(*request);
  if (!reply) return failure_frame(id, reply.error());
  return wire::encode_frame(wire::FrameType::certificate, id, wire::encode_message(*reply));
}

}  // namespace

FreshToken make_token() {
  constexpr const char* kDigits = "0123456789abcdef";
  std::array<std::byte, kTokenBytes> random;
  fill_random(random);
  FreshToken token{"rst-", {}};
  for (auto byte : random) {
    token.text += kDigits[std::to_integer<unsigned>(byte) >> 4];
    token.text += kDigits[std::to_integer<unsigned>(byte) & 15];
  }
  token.digest = token_digest(token.text);
  return token;
}

Bytes token_digest(const std::string& text) {
  auto digest = sha256(as_bytes(text));
  return Bytes(digest.begin(), digest.end());
}

Result<wire::CertificateReply> Enroller::enroll(const std::string& address,
                                                const wire::EnrollRequest& request) {
  if (request.magic != wire::kProtocolMagic)
    return fail(ErrorCode::protocol, "this is not how a desktop enrols");
  if (request.version != wire::kProtocolVersion)
    return fail(ErrorCode::protocol, "protocol version " + std::to_string(request.version) + " where " +
                                         std::to_string(wire::kProtocolVersion) + " is spoken");
  audit::Record noted{
      "desktop.enroll", "address " + address, "desktop " + request.name, audit::Outcome::refused, "", {}};
  auto refuse = [&](const Error& why, const Error& said) {
    log_event(Event::enrolment_refused, "enrolment of '{}' from {} refused: {}", request.name.substr(0, 64),
              address, why.to_string());
    noted.reason = why.to_string();
    record(audit_, std::move(noted));
    return fail(said);
  };
  auto now = now_100ns();
  auto digest = token_digest(request.token.substr(0, kMaxTokenText));
  // A desktop whose answer was lost asks again, with the same key: it costs the token no further use.
  const auto request_digest = sha256(request.request);
  if (auto again = store_.find_enrolment(digest, request.name, request_digest, now); again && *again) {
    auto repeated = [&]() -> Result<wire::CertificateReply> {
      RS_TRY(auto issued, authority_.issue_desktop(request.name, request.request));
      RS_CHECK(store_.add_certificate(request.name, **again, {issued.serial, "", now, issued.expires_100ns}));
      RS_TRY(auto pool, store_.pool_of(request.name));
      noted.fields.emplace_back("serial", issued.serial);
      noted.fields.emplace_back("again", **again);
      return wire::CertificateReply{issued.certificate_pem, authority_.certificate_pem(), pool.name};
    }();
    if (!repeated) return refuse(repeated.error(), repeated.error());
    noted.outcome = audit::Outcome::done;
    record(audit_, std::move(noted));
    return repeated;
  }
  auto token = store_.check_token(digest, request.pool, now);
  // Unknown, used, expired, revoked, for another pool: all the same to who holds no good one.
  const Error not_good(ErrorCode::denied,
                       "this token is not good for an enrolment; the coordinator's audit "
                       "log says why");
  if (!token)
    return refuse(token.error(), token.error().code == ErrorCode::denied ? not_good : token.error());
  noted.fields = {{"token", token->id}, {"pool", token->pool}};
  auto issued = authority_.issue_desktop(request.name, request.request);
  if (!issued) return refuse(issued.error(), issued.error());
  auto used =
      store_.enroll_by_token(digest, request.pool, {request.name, issued->serial, now, 0, token->pool},
                             request_digest, issued->expires_100ns, now);
  if (!used) return refuse(used.error(), used.error().code == ErrorCode::denied ? not_good : used.error());
  noted.outcome = audit::Outcome::done;
  noted.fields.emplace_back("serial", issued->serial);
  noted.fields.emplace_back("uses_left", std::to_string(used->uses_left));
  record(audit_, std::move(noted));
  log_info("desktop '{}' enrolled from {} by token {} into pool '{}', certificate {}", request.name, address,
           used->id, used->pool, issued->serial);
  return wire::CertificateReply{issued->certificate_pem, authority_.certificate_pem(), used->pool};
}

Result<wire::CertificateReply> Enroller::renew(const std::string& desktop, const std::string& serial,
                                               const wire::RenewCertificateRequest& request) {
  audit::Record noted{
      "desktop.renew",         "desktop " + desktop, "desktop " + desktop, audit::Outcome::refused, "",
      {{"old_serial", serial}}};
  auto renewed = [&]() -> Result<wire::CertificateReply> {
    RS_TRY(auto issued, authority_.issue_desktop(desktop, request.request));
    RS_CHECK(store_.add_certificate(desktop, serial, {issued.serial, "", now_100ns(), issued.expires_100ns}));
    RS_TRY(auto pool, store_.pool_of(desktop));
    noted.fields.emplace_back("serial", issued.serial);
    log_info("desktop '{}' renewed its certificate {}: {}", desktop, serial, issued.serial);
    return wire::CertificateReply{issued.certificate_pem, authority_.certificate_pem(), pool.name};
  }();
  if (renewed)
    noted.outcome = audit::Outcome::done;
  else
    noted.reason = renewed.error().to_string();
  record(audit_, std::move(noted));
  return renewed;
}

Bytes Enroller::answer_enroll(const std::string& address, wire::Frame frame) {
  if (frame.type != wire::FrameType::enroll)
    return failure_frame(0, Error(ErrorCode::denied, "without a certificate only an enrolment is taken"));
  return answer_frame<wire::EnrollRequest>(std::move(frame), "enrolment",
                                           [&](const auto& request) { return enroll(address, request); });
}

Bytes Enroller::answer_renew(const std::string& desktop, const std::string& serial, wire::Frame frame) {
  return answer_frame<wire::RenewCertificateRequest>(
      std::move(frame), "renewal", [&](const auto& request) { return renew(desktop, serial, request); });
}

void Enroller::note_limited(const std::string& address) {
  record(audit_, {"desktop.enroll",
                  "address " + address,
                  "",
                  audit::Outcome::refused,
                  "too many enrolments from there",
                  {}});
}

}  // namespace roamstead::server
