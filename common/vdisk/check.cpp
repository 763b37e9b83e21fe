#include "common/vdisk/check.h"

#include <algorithm>

#include "common/vdisk/chain.h"
#include "common/vdisk/qcow2_check.h"
#include "common/vdisk/vhd_check.h"
#include "common/vdisk/vhdx_check.h"

namespace roamstead::vdisk {
namespace {

using Severity = Finding::Severity;

Result<std::vector<Finding>> check_raw(os::FileSystem& files, const std::string& path) {
  RS_TRY(auto file, files.open(path, os::OpenMode::read));
  RS_TRY(auto size, file->size());
  std::vector<Finding> findings;
  if (size == 0) findings.push_back({Severity::error, 0, "an empty file is no disk"});
  if (size % 512 != 0)
    findings.push_back({Severity::warning, size / 512 * 512,
                        "the file ends within a sector: " + std::to_string(size % 512) + " bytes of 512"});
  return findings;
}

// The format a file has by its name, or by its content. One that is not what its name says is checked as what
// its name says: that tells most about what is wrong with it.
Result<Format> format_of(os::FileSystem& files, const std::string& path) {
  RS_TRY(auto file, files.open(path, os::OpenMode::read));
  auto format = detect_format(*file, path);
  if (!format && format.error().code == ErrorCode::corrupt)
    return path.ends_with(".qcow2") ? Format::qcow2 : Format::vhdx;
  return format;
}

Result<LayerCheck> check_layer(os::FileSystem& files, const std::string& path) {
  LayerCheck layer;
  layer.path = path;
  RS_TRY(layer.format, format_of(files, path));
  switch (layer.format) {
    case Format::raw: {
      RS_TRY(layer.findings, check_raw(files, path));
      return layer;
    }
    case Format::vhdx: {
      RS_TRY(layer.findings, vhdx::check_file(files, path));
      return layer;
    }
    case Format::vhd: {
      RS_TRY(layer.findings, vhd::check_file(files, path));
      return layer;
    }
    case Format::qcow2: {
      RS_TRY(layer.findings, qcow2::check_file(files, path));
      return layer;
    }
    case Format::foreign:  // never detected
      break;
  }
  return layer;
}

}  // namespace

bool DiskCheck::has_errors() const {
  if (refused) return true;
  for (const auto& layer : layers)
    for (const auto& finding : layer.findings)
      if (finding.severity == Severity::error) return true;
  return false;
}

Result<DiskCheck> check_disk(os::FileSystem& files, const std::string& path) {
  DiskCheck check;
  OpenOptions options;
  options.missing_parent = true;
  options.ignore_checksum = true;
  // Which files: as they lead to each other, even where the disk as a whole is refused.
  std::vector<std::string> paths{path};
  if (auto chain = open_chain(files, path, Access::read, options))
    for (std::size_t i = 1; i < chain->size(); ++i)
      if (auto info = (*chain)[i].layer->info(); files.exists(info.path).value_or(false))
        paths.push_back(info.path);
  for (const auto& each : paths) {
    RS_TRY(auto layer, check_layer(files, each));
    check.layers.push_back(std::move(layer));
  }
  for (std::size_t i = 0; i + 1 < paths.size(); ++i) {
    auto late = later_than_noted(files, paths[i], paths[i + 1]);
    if (late) check.layers[i].findings.push_back({Severity::warning, 0, *late});
  }
  if (auto opened = open_chain(files, path, Access::read); !opened) check.refused = std::move(opened).error();
  return check;
}

}  // namespace roamstead::vdisk
