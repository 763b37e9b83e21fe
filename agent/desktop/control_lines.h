// How a desktop's agent is spoken to on its own machine: one JSON object a line each way, over whatever
// carries bytes (a Unix socket, a named pipe). Each side speaks only when it was answered.
#pragma once

#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "common/base/bytes.h"

namespace roamstead::agent {

class ByteStream {
 public:
  virtual ~ByteStream() = default;
  // At least one byte; 0: the other side closed.
  virtual Result<std::size_t> read(MutableByteView out) = 0;
  virtual Result<void> write(ByteView data) = 0;  // all of it
};

using ControlAnswer = std::function<nlohmann::json(const nlohmann::json&)>;

// Answers requests until the other side closes; `answered` is called after each, and ends it with false.
void converse(ByteStream& stream, const ControlAnswer& answer, const std::function<bool()>& answered);

// One request and its answer; an answer that reports an error is that error.
Result<nlohmann::json> ask(ByteStream& stream, const nlohmann::json& request);

// {"error": {"code", "message"}}
nlohmann::json describe_error(const Error& error);
// What `perform` gives, or its error so described; also of a member of another type than it should have.
nlohmann::json answer_of(const std::function<Result<nlohmann::json>()>& perform);

}  // namespace roamstead::agent
