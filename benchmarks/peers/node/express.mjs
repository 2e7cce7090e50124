// A peer: web messages in Express, its contract enforced by express-openapi-validator.
import express from 'express'
import * as OpenApiValidator from 'express-openapi-validator'
import { openStore } from './store.mjs'

const { API_KEY, DATABASE_URL, PORT } = process.env
const store = await openStore(DATABASE_URL)
const app = express()

app.use(express.json())
app.use(
  OpenApiValidator.middleware({
    apiSpec: './openapi.yaml',
    validateRequests: true,
    validateResponses: false,
    validateSecurity: { handlers: { ApiKeyAuth: (request) => request.get('apikey') === API_KEY } },
  }),
)

app.post('/webmessages', async (request, response) => {
  response.status(201).location(`/webmessages/${await store.create(request.body)}`).end()
})

app.get('/webmessages/recipients/:partyId', async (request, response) => {
  response.json(await store.list(request.params.partyId))
})

app.get('/webmessages/:id', async (request, response) => {
  const message = await store.get(request.params.id)
  if (message) response.json(message)
  else response.status(404).end()
})

app.use((error, _request, response, _next) => {
  if (!error.status || error.status >= 500) console.error(error.stack)
  response.status(error.status ?? 500).json({ message: error.message, errors: error.errors })
})

app.listen(Number(PORT), '127.0.0.1')
