// Disks and errors as JSON, for the control protocol and the command line.
#pragma once

#include <nlohmann/json.hpp>

#include "common/vdisk/disk.h"

namespace roamstead::diskcontrol {

nlohmann::json to_json(const vdisk::LayerInfo& layer);
nlohmann::json to_json(const vdisk::Disk::Frozen& frozen);
nlohmann::json to_json(const Error& error);  // {"code", "message"}

// ErrorCode::protocol when something is missing or of the wrong type.
Result<vdisk::LayerInfo> layer_from_json(const nlohmann::json& value);
Result<vdisk::Disk::Frozen> frozen_from_json(const nlohmann::json& value);
Error error_from_json(const nlohmann::json& value);

}  // namespace roamstead::diskcontrol
