#include "coordinator/cli/value_json.h"

#include "common/registry/value_text.h"

namespace roamstead::cli {

using nlohmann::json;
using registry::ValueType;

json data_json(std::uint32_t type, ByteView data) {
  switch (static_cast<ValueType>(type)) {
    case ValueType::string:
    case ValueType::expand_string:
    case ValueType::link:
      return registry::string_text(data);
    case ValueType::multi_string:
      return registry::multi_string_texts(data);
    case ValueType::dword:
      if (data.size() == 4) return load_le<std::uint32_t>(data);
      break;
    case ValueType::dword_big_endian:
      if (data.size() == 4) return load_be<std::uint32_t>(data);
      break;
    case ValueType::qword:
      if (data.size() == 8) return load_le<std::uint64_t>(data);
      break;
    default:
      break;
  }
  return registry::hex_text(data);
}

json value_json(const std::string& name, std::uint32_t type, ByteView data) {
  return {{"name", name},
          {"type", registry::type_name(type)},
          {"size", data.size()},
          {"data", data_json(type, data)}};
}

}  // namespace roamstead::cli
