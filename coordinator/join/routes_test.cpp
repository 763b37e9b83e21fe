#include "coordinator/join/routes.h"

#include <doctest/doctest.h>

#include "coordinator/join/testing_blob.h"

using namespace roamstead;
using namespace roamstead::join;
using join::testing::equal;
using join::testing::sample_blob;
using support::must;

TEST_CASE("the answer file gives Setup the name and the blob") {
  const auto file = must(unattend_join_file("VDI-0001", must(write_odj_data(sample_blob())), "AMD64"));
  CHECK(file.path == "Windows/Panther/unattend.xml");
  CHECK(file.secret);
  const auto text = std::string(as_text(file.content));
  CHECK(text.find("processorArchitecture=\"amd64\"") != std::string::npos);
  CHECK(text.find("<ComputerName>VDI-0001</ComputerName>") != std::string::npos);
  const std::string open = "<AccountData>", close = "</AccountData>";
  const auto begin = text.find(open) + open.size();
  const auto data = text.substr(begin, text.find(close) - begin);
  CHECK(equal(must(parse_odj_text(as_bytes(data))), sample_blob()));
}

TEST_CASE("without a blob it gives the name alone; unknown architectures and names are refused") {
  const auto text = std::string(as_text(must(unattend_join_file("VDI-0001", {}, "arm64")).content));
  CHECK(text.find("<ComputerName>VDI-0001</ComputerName>") != std::string::npos);
  CHECK(text.find("AccountData") == std::string::npos);
  CHECK(unattend_join_file("VDI-0001", {}, "PowerPC").error().code == ErrorCode::unsupported);
  CHECK(unattend_join_file("<x/>", {}, "AMD64").error().code == ErrorCode::invalid_argument);
}

TEST_CASE("the first start takes the blob once") {
  const auto file =
      runonce_blob_file(must(write_odj_data(sample_blob())), "ProgramData/Roamstead/firstboot/");
  CHECK(file.path == "ProgramData/Roamstead/firstboot/domain-join.txt");
  CHECK(file.secret);
  CHECK(equal(must(parse_odj_text(file.content)), sample_blob()));
  auto padded = file.content;  // as a clone's disk has it, in room for the longest
  padded.resize(padded.size() + 800);
  CHECK(equal(must(parse_odj_text(padded)), sample_blob()));
  CHECK(must(odj_data_of_text(padded)) == must(write_odj_data(sample_blob())));
  const auto script = runonce_join_script();
  const auto taken = script.find("djoin.exe\" /requestodj /loadfile");
  CHECK(taken != std::string::npos);
  CHECK(script.find("del /f /q") > taken);
  CHECK(script.find("exit /b 3010") > script.find("del /f /q"));
}
