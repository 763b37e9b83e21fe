#include "coordinator/diskfs/disk_json.h"

namespace roamstead::diskcontrol {
namespace {

using nlohmann::json;

std::string_view kind_name(vdisk::LayerKind kind) {
  switch (kind) {
    case vdisk::LayerKind::fixed:
      return "fixed";
    case vdisk::LayerKind::dynamic:
      return "dynamic";
    case vdisk::LayerKind::differencing:
      return "differencing";
  }
  return "";
}

std::string id_text(const Guid& id) { return id.is_zero() ? "" : id.to_string(); }

Result<Guid> id_from(const json& value, const char* key) {
  auto text = value.at(key).get<std::string>();
  if (text.empty()) return Guid{};
  return Guid::parse(text);
}

template <class T>
Result<T> checked(const char* what, Result<T> (*parse)(const json&), const json& value) {
  try {
    return parse(value);
  } catch (const json::exception& error) {  // how the library reports a missing or mistyped member
    return fail(ErrorCode::protocol, std::string(what) + ": " + error.what());
  }
}

Result<vdisk::LayerInfo> parse_layer(const json& value) {
  vdisk::LayerInfo layer;
  layer.path = value.at("path").get<std::string>();
  RS_TRY(layer.format, vdisk::parse_format(value.at("format").get<std::string>()));
  auto kind = value.at("kind").get<std::string>();
  for (auto each : {vdisk::LayerKind::fixed, vdisk::LayerKind::dynamic, vdisk::LayerKind::differencing})
    if (kind == kind_name(each)) layer.kind = each;
  layer.virtual_bytes = value.at("virtual_bytes").get<std::uint64_t>();
  layer.block_bytes = value.at("block_bytes").get<std::uint32_t>();
  RS_TRY(layer.id, id_from(value, "id"));
  RS_TRY(layer.parent_id, id_from(value, "parent_id"));
  layer.parent_path = value.at("parent_path").get<std::string>();
  return layer;
}

Result<vdisk::Disk::Frozen> parse_frozen(const json& value) {
  vdisk::Disk::Frozen frozen;
  frozen.frozen_path = value.at("frozen_path").get<std::string>();
  RS_TRY(frozen.frozen_id, id_from(value, "frozen_id"));
  frozen.active_path = value.at("active_path").get<std::string>();
  return frozen;
}

}  // namespace

json to_json(const vdisk::LayerInfo& layer) {
  return {{"path", layer.path},
          {"format",
           layer.foreign_format.empty() ? std::string(vdisk::to_string(layer.format)) : layer.foreign_format},
          {"kind", kind_name(layer.kind)},
          {"virtual_bytes", layer.virtual_bytes},
          {"block_bytes", layer.block_bytes},
          {"id", id_text(layer.id)},
          {"parent_id", id_text(layer.parent_id)},
          {"parent_path", layer.parent_path}};
}

json to_json(const vdisk::Disk::Frozen& frozen) {
  return {{"frozen_path", frozen.frozen_path},
          {"frozen_id", id_text(frozen.frozen_id)},
          {"active_path", frozen.active_path}};
}

json to_json(const Error& error) { return {{"code", to_string(error.code)}, {"message", error.to_string()}}; }

Result<vdisk::LayerInfo> layer_from_json(const json& value) { return checked("a layer", parse_layer, value); }

Result<vdisk::Disk::Frozen> frozen_from_json(const json& value) {
  return checked("a frozen layer", parse_frozen, value);
}

Error error_from_json(const json& value) {
  auto text = [&](const char* key) {
    auto found = value.find(key);
    return found != value.end() && found->is_string() ? found->get<std::string>() : std::string();
  };
  auto name = value.is_object() ? text("code") : "";
  auto code = ErrorCode::internal;
  for (int i = 0; i <= static_cast<int>(ErrorCode::internal); ++i)
    if (to_string(static_cast<ErrorCode>(i)) == name) code = static_cast<ErrorCode>(i);
  return Error(code, value.is_object() ? text("message") : "an error without a message");
}

}  // namespace roamstead::diskcontrol
