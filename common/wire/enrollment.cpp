#include "common/wire/enrollment.h"

#include <asio/co_spawn.hpp>
#include <asio/connect.hpp>
#include <asio/detached.hpp>
#include <asio/io_context.hpp>
#include <asio/redirect_error.hpp>
#include <asio/use_awaitable.hpp>
#include <nlohmann/json.hpp>
#include <optional>

#include "common/base/host_port.h"
#include "common/wire/channel.h"
#include "common/wire/identity_message.h"
#include "common/wire/key_request.h"
#include "common/wire/tls.h"

namespace roamstead::wire {
namespace {

constexpr std::uint64_t kMaxTokenFileBytes = 64u << 10;
constexpr const char* kRenewedFile = "identity.pem";

asio::awaitable<Result<CertificateReply>> ask_for_certificate(asio::io_context& io, const HostPort& address,
                                                              asio::ssl::context& context, Bytes frame,
                                                              std::chrono::milliseconds timeout) {
  asio::ip::tcp::resolver resolver(io);
  asio::ip::tcp::socket socket(io);
  asio::error_code error;
  auto endpoints = co_await resolver.async_resolve(address.host, std::to_string(address.port),
                                                   asio::redirect_error(asio::use_awaitable, error));
  if (error)
    co_return fail(ErrorCode::unavailable, "cannot resolve '" + address.host + "': " + error.message());
  co_await asio::async_connect(socket, endpoints, asio::redirect_error(asio::use_awaitable, error));
  if (error)
    co_return fail(ErrorCode::unavailable,
                   "cannot connect to " + to_string(address) + ": " + error.message());
  auto channel =
      std::make_shared<Channel>(std::move(socket), context, Channel::Timeouts{timeout, timeout, timeout});
  auto shaken = co_await channel->handshake(asio::ssl::stream_base::client);
  if (!shaken) co_return fail(std::move(shaken).error());
  channel->send(std::move(frame));
  auto reply = co_await channel->read(kMaxPayloadBytes);
  channel->close();
  if (!reply) co_return fail(std::move(reply).error());
  if (reply->type == FrameType::failure) {
    auto failure = decode_message<Failure>(std::move(*reply), "refusal");
    if (!failure) co_return fail(std::move(failure).error());
    co_return fail(to_error(*failure));
  }
  if (reply->type != FrameType::certificate)
    co_return fail(ErrorCode::protocol, "no certificate from the coordinator");
  co_return decode_message<CertificateReply>(std::move(*reply), "certificate");
}

}  // namespace

Result<EnrollmentToken> load_enrollment_token(os::FileSystem& files, const std::string& path) {
  RS_TRY(auto content, os::read_file(files, path, kMaxTokenFileBytes));
  auto json = nlohmann::json::parse(as_text(content), nullptr, false);
  EnrollmentToken token;
  auto text = [&](const char* name, std::string& out) {
    if (!json.is_object() || !json.contains(name) || !json[name].is_string()) return false;
    out = json[name].get<std::string>();
    return !out.empty();
  };
  if (!text("coordinator", token.coordinator) || !text("token", token.token) || !text("ca_pem", token.ca_pem))
    return fail(ErrorCode::corrupt,
                path +
                    ": not the file of an enrolment token, with \"coordinator\", "
                    "\"token\" and \"ca_pem\" ('roamstead token create --out' writes it)");
  return token;
}

Result<DesktopIdentity> enroll_desktop(const EnrollmentToken& token, const std::string& name,
                                       const std::string& pool, std::chrono::milliseconds timeout) {
  RS_TRY(auto address, parse_host_port(token.coordinator));
  RS_TRY(auto context, make_enrollment_context(token.ca_pem));
  RS_TRY(auto key, make_key_request(name));
  EnrollRequest request;
  request.token = token.token;
  request.name = name;
  request.pool = pool;
  request.request = std::move(key.request);
  auto frame = encode_frame(FrameType::enroll, 1, encode_message(request));
  // Where the connection is lost the same is asked once more: a coordinator that had answered knows it again.
  std::optional<Result<CertificateReply>> answer;
  for (int attempt = 0; attempt < 2; ++attempt) {
    asio::io_context io(1);
    auto task = [&]() -> asio::awaitable<void> {
      answer = co_await ask_for_certificate(io, address, *context, frame, timeout);
    };
    asio::co_spawn(io, task(), asio::detached);
    io.run_for(timeout);
    if (!answer || *answer || answer->error().code != ErrorCode::unavailable) break;
  }
  if (!answer)
    return fail(ErrorCode::timeout, "no answer from coordinator " + token.coordinator + " in time");
  if (!*answer) return fail(std::move(*answer).error().with("coordinator " + token.coordinator));
  DesktopIdentity identity{std::move(key.key_pem), (*answer)->certificate_pem, (*answer)->ca_pem};
  RS_CHECK(check_identity(identity.key_pem, identity.certificate_pem, identity.ca_pem));
  return identity;
}

Result<void> save_desktop_identity(os::FileSystem& files, const std::string& directory,
                                   const std::string& name, const std::string& coordinator,
                                   const DesktopIdentity& identity) {
  RS_CHECK(files.make_directories(directory));
  for (const char* file : {"key.pem", kRenewedFile}) {
    RS_TRY(bool there, files.exists(os::join_path(directory, file)));
    if (there) return fail(ErrorCode::exists, directory + ": holds the identity of a desktop already");
  }
  auto write = [&](const char* file, const std::string& text) {
    return os::write_file_durably(files, os::join_path(directory, file), as_bytes(text));
  };
  nlohmann::json description{{"desktop", name}, {"coordinator", coordinator}};
  RS_CHECK(write("key.pem", identity.key_pem));
  RS_CHECK(write("cert.pem", identity.certificate_pem));
  RS_CHECK(write("ca.pem", identity.ca_pem));
  return write("desktop.json", description.dump(2) + "\n");
}

Result<void> save_renewed_identity(os::FileSystem& files, const std::string& directory,
                                   const DesktopIdentity& identity) {
  // Either certificate of the CA is good with either pair: its key stays the same.
  RS_CHECK(os::write_file_durably(files, os::join_path(directory, kRenewedFile),
                                  as_bytes(identity.certificate_pem + identity.key_pem)));
  return os::write_file_durably(files, os::join_path(directory, "ca.pem"), as_bytes(identity.ca_pem));
}

}  // namespace roamstead::wire
