#include "agent/desktop/control_lines.h"

#include <array>
#include <nlohmann/json.hpp>

namespace roamstead::agent {

using nlohmann::json;

namespace {

constexpr std::size_t kLongestLine = 1 << 20;

Result<void> send_line(ByteStream& stream, const json& value) {
  return stream.write(as_bytes(value.dump(-1, ' ', false, json::error_handler_t::replace) + "\n"));
}

// One line, without its end; ErrorCode::unavailable when the other side closed. Nothing follows the line.
Result<std::string> receive_line(ByteStream& stream) {
  std::string line;
  for (std::array<std::byte, 4096> piece{};;) {
    RS_TRY(const auto count, stream.read(piece));
    if (count == 0) return fail(ErrorCode::unavailable, "the agent closed the connection");
    line.append(as_text(ByteView(piece).first(count)));
    if (line.size() > kLongestLine) return fail(ErrorCode::protocol, "a line of more than 1 MiB");
    if (line.back() != '\n') continue;
    line.pop_back();
    return line;
  }
}

ErrorCode code_from(const std::string& text) {
  for (int code = 0; code <= static_cast<int>(ErrorCode::internal); ++code)
    if (to_string(static_cast<ErrorCode>(code)) == text) return static_cast<ErrorCode>(code);
  return ErrorCode::internal;
}

}  // namespace

void converse(ByteStream& stream, const ControlAnswer& answer, const std::function<bool()>& answered) {
  for (;;) {
    const auto line = receive_line(stream);
    if (!line) return;
    const auto request = json::parse(*line, nullptr, false);
    const auto reply = request.is_object() ? answer(request)
                                           : describe_error(Error(ErrorCode::protocol, "not a JSON object"));
    const auto sent = send_line(stream, reply);
    if (!answered() || !sent) return;
  }
}

Result<json> ask(ByteStream& stream, const json& request) {
  RS_CHECK(send_line(stream, request));
  RS_TRY(const auto line, receive_line(stream));
  auto reply = json::parse(line, nullptr, false);
  if (!reply.is_object()) return fail(ErrorCode::protocol, "the agent's answer is not JSON");
  if (reply.contains("error") && reply["error"].is_object())
    return fail(code_from(reply["error"].value("code", "")), reply["error"].value("message", ""));
  return reply;
}

json describe_error(const Error& error) {
  return {{"error", {{"code", to_string(error.code)}, {"message", error.to_string()}}}};
}

json answer_of(const std::function<Result<json>()>& perform) {
  try {
    auto result = perform();
    return result ? *result : describe_error(result.error());
  } catch (const json::exception& error) {
    return describe_error(Error(ErrorCode::invalid_argument, error.what()));
  }
}

}  // namespace roamstead::agent
