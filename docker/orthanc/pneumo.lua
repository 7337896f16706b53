-- Orthanc sends every study with radiographs to pneumo when it is stable, and again until it has arrived.
--
-- In Orthanc's configuration:
--   "LuaScripts"         : [ "/etc/orthanc/pneumo.lua" ],
--   "LuaHeartBeatPeriod" : 30,                seconds between two tries; Orthanc from 1.11.1 on
--   "DicomModalities"    : { "pneumo" : [ "PNEUMO", "127.0.0.1", 11112 ] }
--
-- What has not arrived yet stands in a file (PNEUMO_WAITING names it), one of Orthanc's own identifiers
-- on each line, so that Orthanc may be restarted at any time. Tries are made when a study becomes stable, when
-- a study has arrived, and at each heart beat. Sending twice is harmless: pneumo knows what it has.

MODALITY = 'pneumo'
KINDS = { CR = true, DX = true }   -- Modality (0008,0060) of a radiograph
AT_ONCE = 4                        -- studies under way at the same time
FILE = os.getenv('PNEUMO_WAITING') or '/var/lib/orthanc/pneumo-waiting.txt'

waiting = {}    -- list of studies that have not arrived
under_way = {}  -- job -> study

function Initialize()
   local file = io.open(FILE, 'r')
   if file then
      for study in file:lines() do
         table.insert(waiting, study)
      end
      file:close()
   end
end

function OnStableStudy(study, tags, metadata)
   if HasRadiographs(study) then
      Forget(study)  -- to the end of the list
      table.insert(waiting, study)
      Save()
      SendWaiting()
   end
end

function OnJobSuccess(job)
   local study = under_way[job]
   if study then
      under_way[job] = nil
      Forget(study)
      Save()
      SendWaiting()
   end
end

function OnJobFailure(job)
   if under_way[job] then
      under_way[job] = nil
      print('pneumo did not take a study over; it will be sent again')
   end
end

function OnHeartBeat()
   SendWaiting()
end

function SendWaiting()
   local busy, count = {}, 0
   for _, study in pairs(under_way) do
      busy[study] = true
      count = count + 1
   end
   local list = {}
   for _, study in ipairs(waiting) do
      table.insert(list, study)
   end
   for _, study in ipairs(list) do
      if count >= AT_ONCE then
         return
      end
      if not busy[study] then
         -- A study that was deleted meanwhile cannot be sent any more.
         if Exists(study) then
            local order = { Resources = { study }, Synchronous = false }
            local answer = RestApiPost('/modalities/' .. MODALITY .. '/store', DumpJson(order, true))
            under_way[ParseJson(answer)['ID']] = study
            count = count + 1
         else
            Forget(study)
            Save()
         end
      end
   end
end

function HasRadiographs(study)
   for _, series in ipairs(ParseJson(RestApiGet('/studies/' .. study .. '/series'))) do
      if KINDS[series['MainDicomTags']['Modality']] then
         return true
      end
   end
   return false
end

function Exists(study)
   local ok, answer = pcall(RestApiGet, '/studies/' .. study)
   return ok and answer ~= nil and answer ~= ''
end

function Forget(study)
   for place = #waiting, 1, -1 do
      if waiting[place] == study then
         table.remove(waiting, place)
      end
   end
end

-- Written aside and renamed: whatever dies in between, the list is whole.
function Save()
   local file = assert(io.open(FILE .. '.part', 'w'))
   file:write(table.concat(waiting, '\n'), #waiting > 0 and '\n' or '')
   file:close()
   assert(os.rename(FILE .. '.part', FILE))
end
